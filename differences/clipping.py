"""Clipping of gradients."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="clipnorm-each",
        area="clipping",
        title="clipnorm clips each variable by itself",
        keras="clipnorm=c scales every variable's gradient to a length of at most c; global_clipnorm=c does all of "
        "them together.",
        torch="clip_grad_norm_(parameters, c) takes the length of all together, as Lightning's gradient_clip_val does.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "BaseOptimizer._clip_gradients",
            "self._clip_by_norm(g) if g is not None else g for g in grads",
        ),
        torch_place=Place("torch/nn/utils/clip_grad.py", "clip_grad_norm_", "total_norm = _get_total_norm("),
        seen="Gradients 3 and 4 in two variables, c = 1: (1, 1) in Keras, (0.6, 0.8) in torch.",
        matters="yes: another direction of the step",
        given="gradients = [np.array([3.0]), np.array([4.0])]",
        keras_code="""
            optimizer = keras.optimizers.SGD(1.0, clipnorm=1.0)
            variables = [keras.Variable(np.zeros(1)), keras.Variable(np.zeros(1))]
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
            out = [-variable.numpy() for variable in variables]
            """,
        torch_code="""
            parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
            for parameter, gradient in zip(parameters, gradients):
                parameter.grad = torch.tensor(gradient)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            out = [parameter.grad for parameter in parameters]
            """,
        keras_gives=[1.0, 1.0],
        torch_gives=[0.6, 0.8],
        torch_mend=Mend(
            "nn.utils.clip_grad_norm_(parameters, 1.0)",
            "for parameter in parameters:\n    nn.utils.clip_grad_norm_(parameter, 1.0)",
        ),
        after=1e-6,
        inherent="torch adds 1e-6 to the length, see `clip-global-epsilon`.",
    ),
    Difference(
        name="clip-global-epsilon",
        area="clipping",
        title="Clipping by the global norm",
        keras="global_clipnorm=c multiplies by c/length.",
        torch="clip_grad_norm_ multiplies by c/(length + 1e-6).",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "clip_by_global_norm",
            "clip_norm * ops.minimum(1.0 / use_norm, 1.0 / clip_norm)",
        ),
        torch_place=Place(
            "torch/nn/utils/clip_grad.py", "_clip_grads_with_norm_", "clip_coef = max_norm / (total_norm + 1e-6)"
        ),
        seen="A gradient of length 0.001 clipped to 0.0005: a factor of 0.5 in Keras, 0.4995 in torch; at a length "
        "of 1 they are 1e-6 apart.",
        matters="no; it keeps two aligned runs in float64 from agreeing",
        given="gradient = np.array([0.001])",
        keras_code="""
            optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.0005)
            variable = keras.Variable(np.zeros(1))
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            out = -variable.numpy() / gradient
            """,
        torch_code="""
            parameter = nn.Parameter(torch.zeros(1))
            parameter.grad = torch.tensor(gradient)
            norm = nn.utils.clip_grad_norm_([parameter], 0.0005)
            out = parameter.grad / gradient
            """,
        keras_gives=[0.5],
        torch_gives=[0.4995],
        within=1e-4,
        torch_mend=Mend(
            "norm = nn.utils.clip_grad_norm_([parameter], 0.0005)\n",
            "norm = nn.utils.get_total_norm([parameter.grad])\nparameter.grad *= min(1.0, 0.0005 / norm)\n",
        ),
    ),
    Difference(
        name="clip-one-kind",
        since="Keras 3.2.1; 3.0.0 refused only clipnorm with global_clipnorm",
        area="clipping",
        title="Clipping by value and by norm together",
        keras="Only one of clipnorm, clipvalue and global_clipnorm; two raise ValueError.",
        torch="clip_grad_value_ and clip_grad_norm_ can be called one after the other.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "BaseOptimizer.__init__",
            "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can",
        ),
        torch_place=Place("torch/nn/utils/clip_grad.py", "clip_grad_value_", "clip_value = float(clip_value)"),
        seen="ValueError in Keras.",
        matters="an error",
        given="gradient = np.array([3.0, 0.0])",
        keras_code="""
            optimizer = keras.optimizers.SGD(1.0, clipvalue=2.0, clipnorm=1.0)
            out = "clips both"
            """,
        torch_code="""
            parameter = nn.Parameter(torch.zeros(2))
            parameter.grad = torch.tensor(gradient)
            nn.utils.clip_grad_value_([parameter], 2.0)
            nn.utils.clip_grad_norm_([parameter], 1.0)
            out = "clips both"
            """,
        keras_gives="ValueError",
        torch_gives="clips both",
        keras_mend=Mend("clipvalue=2.0, clipnorm=1.0", "clipnorm=1.0"),
        inherent="Keras clips one way. In a train_step of one's own the other can be done by hand.",
    ),
)
