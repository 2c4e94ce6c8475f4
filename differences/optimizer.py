"""Optimizers: default rates, ε and its place, decay, accumulators, and what a gradient is."""

from differences.entry import Difference, Mend, Place

_ONE_STEP = "weight = np.array([1.0, 1.0]); gradient = np.array([0.5, 0.0001])"
_KERAS_STEP = """
    optimizer = {optimizer}
    variable = keras.Variable(weight)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    out = weight - variable.numpy()
    """
_TORCH_STEP = """
    parameter = nn.Parameter(torch.tensor(weight))
    optimizer = {optimizer}
    parameter.grad = torch.tensor(gradient)
    optimizer.step()
    out = weight - parameter.detach().numpy()
    """
_KERAS_STEPS = """
    optimizer = {optimizer}
    variable = keras.Variable(weight)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    out = weight - variable.numpy()
    """
_TORCH_STEPS = """
    parameter = nn.Parameter(torch.tensor(weight))
    optimizer = {optimizer}
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    out = weight - parameter.detach().numpy()
    """
_BETA_ROUNDED = "Keras rounds its Python constants to float32 on the way, see `constants-float32`."


def _keras(optimizer: str, steps: str = _KERAS_STEP) -> str:
    return steps.format(optimizer=f"keras.optimizers.{optimizer}")


def _torch(optimizer: str, steps: str = _TORCH_STEP) -> str:
    return steps.format(optimizer=f"torch.optim.{optimizer}")


ENTRIES = (
    Difference(
        name="sgd-rate",
        area="optimizer",
        title="Default learning rate of SGD",
        keras="0.01.",
        torch="0.001; it was required, without a default, before 2.1.",
        keras_place=Place("keras/src/optimizers/sgd.py", "SGD.__init__", "learning_rate=0.01"),
        torch_place=Place("torch/optim/sgd.py", "SGD.__init__", "lr: float | Tensor = 1e-3"),
        seen="One step from a gradient of 1 moves the weight by 0.01 in Keras, by 0.001 in torch.",
        matters="yes: ten times the step",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code=_keras("SGD()"),
        torch_code=_torch("SGD([parameter])"),
        keras_gives=[0.01],
        torch_gives=[0.001],
        torch_mend=Mend("SGD([parameter])", "SGD([parameter], lr=0.01)"),
        after=1e-7,
        inherent="Keras keeps the rate in a float32 variable: 0.01 is 2e-8 off.",
    ),
    Difference(
        name="sgd-momentum-rate",
        area="optimizer",
        title="What SGD's momentum remembers",
        keras="Past updates, the rate included: v = m·v - rate·g, w += v. A new rate acts on new gradients only.",
        torch="Past gradients: v = m·v + g, w -= rate·v. A new rate acts on all of the past at once.",
        keras_place=Place("keras/src/optimizers/sgd.py", "SGD.update_step", "ops.multiply(gradient, learning_rate),"),
        torch_place=Place(
            "torch/optim/sgd.py", "_single_tensor_sgd", "buf.mul_(momentum).add_(grad, alpha=1 - dampening)"
        ),
        seen="Equal while the rate is constant. Momentum 0.9, two gradients of 1, the rate cut from 1 to 0.1 "
        "between them: the second step is 1 in Keras (0.9·1 + 0.1), 0.19 in torch (0.1·1.9).",
        matters="where a schedule cuts the rate at once, for about 1/(1 - momentum) steps",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code="""
            variable = keras.Variable(weight)
            optimizer = keras.optimizers.SGD(1.0, momentum=0.9)
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            before = variable.numpy()
            optimizer.learning_rate = 0.1
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            out = before - variable.numpy()
            """,
        torch_code="""
            parameter = nn.Parameter(torch.tensor(weight))
            optimizer = torch.optim.SGD([parameter], 1.0, momentum=0.9)
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
            before = parameter.detach().clone()
            optimizer.param_groups[0]["lr"] = 0.1
            optimizer.step()
            out = before - parameter.detach()
            """,
        keras_gives=[1.0],
        torch_gives=[0.19],
        torch_mend=Mend(
            'optimizer.param_groups[0]["lr"] = 0.1\n',
            'optimizer.param_groups[0]["lr"] = 0.1\noptimizer.state[parameter]["momentum_buffer"] *= 1.0 / 0.1\n',
        ),
        after=1e-7,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="sgd-weight-decay",
        area="optimizer",
        title="weight_decay of SGD",
        keras="Decoupled: the weight is multiplied by 1 - rate·decay before the step, past the momentum.",
        torch="An L2 penalty: decay·w is added to the gradient and goes through the momentum.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "BaseOptimizer._apply_weight_decay",
            "variable.assign(variable - variable * wd * lr)",
        ),
        torch_place=Place("torch/optim/sgd.py", "_single_tensor_sgd", "grad = grad.add(param, alpha=weight_decay)"),
        seen="Equal without momentum. With momentum 0.5, rate 0.1, decay 0.1 and gradients of 0, a weight of 1 has "
        "moved after two steps by 0.0199 in Keras, by 0.0249 in torch.",
        matters="with momentum: torch decays about 1/(1 - momentum) times as fast",
        given="weight = np.ones(1); gradients = np.zeros((2, 1))",
        keras_code=_keras("SGD(0.1, momentum=0.5, weight_decay=0.1)", _KERAS_STEPS),
        torch_code=_torch("SGD([parameter], 0.1, momentum=0.5, weight_decay=0.1)", _TORCH_STEPS),
        keras_gives=[0.0199],
        torch_gives=[0.0249],
        torch_mend=Mend(
            "momentum=0.5, weight_decay=0.1)\n",
            "momentum=0.5)\noptimizer.register_step_pre_hook(lambda *_: parameter.data.mul_(1 - 0.1 * 0.1) and None)\n",
        ),
        after=1e-6,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="adam-epsilon",
        area="optimizer",
        title="Default ε of Adam, AdamW, Adamax and NAdam",
        keras="1e-7.",
        torch="1e-8.",
        keras_place=Place("keras/src/optimizers/adam.py", "Adam.__init__", "epsilon=1e-7"),
        torch_place=Place("torch/optim/adam.py", "Adam.__init__", "eps: float = 1e-8"),
        seen="The first step from a gradient g is rate·|g|/(|g| + ε), in Keras with ε/√(1 - β₂) (see "
        "`adam-epsilon-place`). At g = 1e-7 and rate 0.001: 3.065e-5 in Keras, 9.091e-4 in torch.",
        matters="for weights whose gradients are below about 1e-5",
        cost="test accuracy within chance: Lightning -0.055 points (n = 20 seeds, docs/framework-differences.md)",
        given="weight = np.zeros(1); gradient = np.array([1e-7])",
        keras_code=_keras("Adam(0.001)"),
        torch_code=_torch("Adam([parameter], 0.001)"),
        keras_gives=[3.065e-05],
        torch_gives=[0.0009091],
        torch_mend=Mend("Adam([parameter], 0.001)", "Adam([parameter], 0.001, eps=1e-7 / (1 - 0.999) ** 0.5)"),
        after=1e-5,
        inherent="This ε holds for the first step only: `adam-epsilon-place`. " + _BETA_ROUNDED,
    ),
    Difference(
        name="adam-epsilon-place",
        area="optimizer",
        title="Where Adam adds ε",
        keras="To √v before the bias correction: w -= rate·√(1 - β₂ᵗ)/(1 - β₁ᵗ) · m/(√v + ε). AdamW does the same.",
        torch="To √v̂ after it: w -= rate/(1 - β₁ᵗ) · m/(√v/√(1 - β₂ᵗ) + ε).",
        keras_place=Place("keras/src/optimizers/adam.py", "Adam.update_step", "ops.add(ops.sqrt(v), self.epsilon)"),
        torch_place=Place(
            "torch/optim/adam.py", "_single_tensor_adam", "(exp_avg_sq.sqrt() / bias_correction2_sqrt).add_(eps)"
        ),
        seen="With the same ε Keras's counts as ε/√(1 - β₂ᵗ): 32 times as much in the first step, 3.2 in the "
        "100th, 1.3 in the 1,000th. With ε = 1e-4 and gradients of 1e-3, rate 0.001, two steps: 5.492e-4 in Keras, "
        "1.818e-3 in torch.",
        matters="for weights with small gradients, early in the training",
        cost="with ε equal and its place not, this project's network parts at step 7 (float32, n = 1); accuracy as "
        "in `adam-epsilon`",
        given="weight = np.zeros(1); gradients = np.full((2, 1), 1e-3)",
        keras_code=_keras("Adam(0.001, epsilon=1e-4)", _KERAS_STEPS),
        torch_code="""
            parameter = nn.Parameter(torch.tensor(weight))
            optimizer = torch.optim.Adam([parameter], 0.001, eps=1e-4)
            for step, gradient in enumerate(gradients, start=1):
                parameter.grad = torch.tensor(gradient)
                optimizer.step()
            out = weight - parameter.detach().numpy()
            """,
        keras_gives=[0.0005492],
        torch_gives=[0.001818],
        torch_mend=Mend(
            "    optimizer.step()",
            '    optimizer.param_groups[0]["eps"] = 1e-4 / (1 - 0.999**step) ** 0.5\n    optimizer.step()',
        ),
        after=1e-5,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="adam-weight-decay",
        area="optimizer",
        title="weight_decay of Adam",
        keras="Adam(weight_decay=…) is AdamW: the weight is multiplied by 1 - rate·decay.",
        torch="Adam(weight_decay=…) adds decay·w to the gradient, which Adam then divides by its own size.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "BaseOptimizer._apply_weight_decay",
            "variable.assign(variable - variable * wd * lr)",
        ),
        torch_place=Place("torch/optim/adam.py", "_single_tensor_adam", "grad = grad.add(param, alpha=weight_decay)"),
        seen="A weight of 1, no gradient, rate 0.1, decay 0.1: one step moves it by 0.01 in Keras, by 0.1 in torch.",
        matters="yes: the decay of weights with small gradients is many times as strong in torch",
        given="weight = np.ones(1); gradient = np.zeros(1)",
        keras_code=_keras("Adam(0.1, weight_decay=0.1)"),
        torch_code=_torch("Adam([parameter], 0.1, weight_decay=0.1)"),
        keras_gives=[0.01],
        torch_gives=[0.1],
        torch_mend=Mend("torch.optim.Adam(", "torch.optim.AdamW("),
        after=1e-6,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="adamw-decay",
        area="optimizer",
        title="Default weight decay of AdamW",
        keras="0.004.",
        torch="0.01.",
        keras_place=Place("keras/src/optimizers/adamw.py", "AdamW.__init__", "weight_decay=0.004"),
        torch_place=Place("torch/optim/adamw.py", "AdamW.__init__", "weight_decay: float = 1e-2"),
        seen="A weight of 1, no gradient, rate 0.1: one step moves it by 0.0004 in Keras, by 0.001 in torch.",
        matters="yes: 2.5 times the decay",
        given="weight = np.ones(1); gradient = np.zeros(1)",
        keras_code=_keras("AdamW(0.1)"),
        torch_code=_torch("AdamW([parameter], 0.1)"),
        keras_gives=[0.0004],
        torch_gives=[0.001],
        torch_mend=Mend("AdamW([parameter], 0.1)", "AdamW([parameter], 0.1, weight_decay=0.004)"),
        after=1e-6,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="weight-decay-l2",
        area="optimizer",
        title="L2(λ) of Keras and weight_decay of torch",
        keras="kernel_regularizer=L2(λ) adds λ·Σw² to the loss, so 2λ·w to the gradient.",
        torch="weight_decay=λ adds λ·w to the gradient.",
        keras_place=Place("keras/src/regularizers/regularizers.py", "L2.__call__", "ops.sum(ops.square(x))"),
        torch_place=Place("torch/optim/sgd.py", "_single_tensor_sgd", "grad = grad.add(param, alpha=weight_decay)"),
        seen="A weight of 1 and λ = 0.1: the gradient is 0.2 in Keras, 0.1 in torch.",
        matters="yes: twice the penalty",
        keras_code="""
            penalty = keras.regularizers.L2(0.1)
            model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_regularizer=penalty)])
            model.build((None, 1))
            model.set_weights([np.ones((1, 1))])
            model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=True)
            model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
            out = 1 - model.get_weights()[0]
            """,
        torch_code="""
            model = nn.Linear(1, 1, bias=False)
            nn.init.ones_(model.weight)
            optimizer = torch.optim.SGD(model.parameters(), 1.0, weight_decay=0.1)
            F.mse_loss(model(torch.zeros(1, 1)), torch.zeros(1, 1)).backward()
            optimizer.step()
            out = 1 - model.weight
            """,
        keras_gives=[0.2],
        torch_gives=[0.1],
        torch_mend=Mend("weight_decay=0.1", "weight_decay=2 * 0.1"),
        after=1e-7,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="rmsprop-rate",
        area="optimizer",
        title="Default rate and decay of RMSprop",
        keras="Rate 0.001, and rho = 0.9 of the old mean square is kept.",
        torch="Rate 0.01, and alpha = 0.99 of it is kept.",
        keras_place=Place("keras/src/optimizers/rmsprop.py", "RMSprop.__init__", "rho=0.9"),
        torch_place=Place("torch/optim/rmsprop.py", "RMSprop.__init__", "alpha: float = 0.99"),
        seen="The first step is rate/√(1 - rho) for any gradient: 0.003162 in Keras, 0.1 in torch.",
        matters="yes: 32 times the first step, ten times later ones",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code=_keras("RMSprop()"),
        torch_code=_torch("RMSprop([parameter])"),
        keras_gives=[0.003162],
        torch_gives=[0.1],
        torch_mend=Mend("RMSprop([parameter])", "RMSprop([parameter], lr=0.001, alpha=0.9, eps=0)"),
        after=1e-6,
        inherent="ε = 1e-7 stays under Keras's root, see `rmsprop-epsilon-place`. " + _BETA_ROUNDED,
    ),
    Difference(
        name="rmsprop-epsilon-place",
        area="optimizer",
        title="Where RMSprop adds ε",
        keras="Under the root: rate·g/√(v + ε), ε = 1e-7.",
        torch="Outside: rate·g/(√v + ε), ε = 1e-8.",
        keras_place=Place("keras/src/optimizers/rmsprop.py", "RMSprop.update_step", "ops.add(velocity, self.epsilon)"),
        torch_place=Place("torch/optim/rmsprop.py", "_single_tensor_rmsprop", "avg = avg.add_(eps)"),
        seen="ε = 1e-7 under the root is a floor of 3e-4 for √v. With equal rate 0.001, rho 0.9 and ε 1e-7, a "
        "first gradient of 1e-4: 3.147e-4 in Keras, 3.152e-3 in torch.",
        matters="for weights whose gradients are below about 1e-3",
        cost="weights 6e-3 apart after the first step of this project's network (n = 1)",
        given="weight = np.zeros(1); gradient = np.array([1e-4])",
        keras_code=_keras("RMSprop(0.001, rho=0.9, epsilon=1e-7)"),
        torch_code=_torch("RMSprop([parameter], 0.001, alpha=0.9, eps=1e-7)"),
        keras_gives=[0.0003147],
        torch_gives=[0.003152],
        keras_mend=Mend("epsilon=1e-7", "epsilon=0.0"),
        torch_mend=Mend("eps=1e-7", "eps=0"),
        after=1e-6,
        inherent="No ε of one is an ε of the other; the mend leaves it out on both sides, where a gradient that has "
        "always been 0 gives 0/0. " + _BETA_ROUNDED,
    ),
)
