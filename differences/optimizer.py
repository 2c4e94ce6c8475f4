"""Optimizers: default rates, ε and its place, decay, accumulators, and what a gradient is."""

from differences.entry import Difference, Mend, Place

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
        since="torch 2.0.0 had no default; Keras's is in 3.0.0 already",
        area="optimizer",
        title="Default learning rate of SGD",
        keras="0.01.",
        torch="0.001.",
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
        inherent="This ε is exact in the first step only, see `adam-epsilon-place`; the usual eps=1e-7 is nearer "
        "than 1e-8. Keras rounds its Python constants to float32 on the way, see `constants-float32`.",
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
        inherent="No setting does it: ε has to be changed before each step. Keras rounds its Python constants to "
        "float32 on the way, see `constants-float32`.",
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
        inherent="No ε of one is an ε of the other; the mend leaves it out on both sides, where a gradient that "
        "has always been 0 gives 0/0.",
    ),
    Difference(
        name="rmsprop-momentum-rate",
        area="optimizer",
        title="What RMSprop's momentum remembers",
        keras="Past steps, the rate included, as `sgd-momentum-rate`.",
        torch="Past gradients over their root; the rate of today multiplies them all.",
        keras_place=Place(
            "keras/src/optimizers/rmsprop.py",
            "RMSprop.update_step",
            "ops.add(ops.multiply(self.momentum, momentum), increment)",
        ),
        torch_place=Place("torch/optim/rmsprop.py", "_single_tensor_rmsprop", "buf.mul_(momentum).addcdiv_(grad, avg)"),
        seen="Equal while the rate is constant. Momentum 0.9, rho 0, two gradients of 1, the rate cut from 1 to "
        "0.1 between them: the second step is 1 in Keras, 0.19 in torch.",
        matters="where a schedule cuts the rate at once, for about 1/(1 - momentum) steps",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code="""
            variable = keras.Variable(weight)
            optimizer = keras.optimizers.RMSprop(1.0, rho=0.0, momentum=0.9, epsilon=0.0)
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            before = variable.numpy()
            optimizer.learning_rate = 0.1
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            out = before - variable.numpy()
            """,
        torch_code="""
            parameter = nn.Parameter(torch.tensor(weight))
            optimizer = torch.optim.RMSprop([parameter], 1.0, alpha=0.0, momentum=0.9, eps=0.0)
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
    ),
    Difference(
        name="adagrad-accumulator",
        area="optimizer",
        title="What Adagrad's accumulator starts from",
        keras="initial_accumulator_value = 0.1, and ε = 1e-7 under the root.",
        torch="0, and ε = 1e-10 outside it.",
        keras_place=Place("keras/src/optimizers/adagrad.py", "Adagrad.__init__", "initial_accumulator_value=0.1"),
        torch_place=Place("torch/optim/adagrad.py", "Adagrad.__init__", "initial_accumulator_value: float = 0"),
        seen="The first step at rate 1: in torch it has the length 1 whatever the gradient; from a gradient of 0.1 "
        "it is 0.3015 in Keras.",
        matters="yes: gradients below 0.3 move little at first in Keras, and fully in torch",
        given="weight = np.zeros(1); gradient = np.full(1, 0.1)",
        keras_code=_keras("Adagrad(1.0)"),
        torch_code=_torch("Adagrad([parameter], 1.0)"),
        keras_gives=[0.3015],
        torch_gives=[1.0],
        torch_mend=Mend(
            "Adagrad([parameter], 1.0)", "Adagrad([parameter], 1.0, initial_accumulator_value=0.1 + 1e-7, eps=0)"
        ),
        after=1e-7,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="adagrad-rate",
        area="optimizer",
        title="Default learning rate of Adagrad",
        keras="0.001.",
        torch="0.01.",
        keras_place=Place("keras/src/optimizers/adagrad.py", "Adagrad.__init__", "learning_rate=0.001"),
        torch_place=Place("torch/optim/adagrad.py", "Adagrad.__init__", "lr: float | Tensor = 1e-2"),
        seen="A first step from a gradient of a million, where the accumulator's start does not count: 0.001 in "
        "Keras, 0.01 in torch.",
        matters="yes: ten times the step",
        given="weight = np.zeros(1); gradient = np.full(1, 1e6)",
        keras_code=_keras("Adagrad()"),
        torch_code=_torch("Adagrad([parameter])"),
        keras_gives=[0.001],
        torch_gives=[0.01],
        torch_mend=Mend("Adagrad([parameter])", "Adagrad([parameter], lr=0.001)"),
    ),
    Difference(
        name="adadelta-defaults",
        area="optimizer",
        title="Defaults of Adadelta",
        keras="Rate 0.001, rho = 0.95, ε = 1e-7.",
        torch="Rate 1, rho = 0.9, ε = 1e-6.",
        keras_place=Place(
            "keras/src/optimizers/adadelta.py", "Adadelta.__init__", "learning_rate=0.001, rho=0.95, epsilon=1e-7"
        ),
        torch_place=Place(
            "torch/optim/adadelta.py",
            "Adadelta.__init__",
            "lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6",
        ),
        seen="The first step from a gradient of 1: 1.414e-6 in Keras, 3.162e-3 in torch.",
        matters="yes: Keras's rate leaves the weights where they are; the method's paper has 1",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code=_keras("Adadelta()"),
        torch_code=_torch("Adadelta([parameter])"),
        keras_gives=[1.414e-06],
        torch_gives=[0.003162],
        torch_mend=Mend("Adadelta([parameter])", "Adadelta([parameter], lr=0.001, rho=0.95, eps=1e-7)"),
    ),
    Difference(
        name="adamax-epsilon-place",
        area="optimizer",
        title="Where Adamax adds ε",
        keras="To the largest gradient so far when it divides: m/(u + ε).",
        torch="To each gradient before it is compared: u = max(β₂·u, |g| + ε).",
        keras_place=Place("keras/src/optimizers/adamax.py", "Adamax.update_step", "ops.add(u, self.epsilon)"),
        torch_place=Place("torch/optim/adamax.py", "_single_tensor_adamax", "grad.abs().add_(eps)"),
        seen="Equal in the first step, then apart by up to the share of ε in the gradient. ε = 0.1, gradients 1 "
        "and 0.1 at rate 1, β₂ = 0.5: after two steps 1.786 in Keras, 1.866 in torch.",
        matters="no, unless ε is large",
        given="weight = np.zeros(1); gradients = np.array([[1.0], [0.1]])",
        keras_code=_keras("Adamax(1.0, beta_2=0.5, epsilon=0.1)", _KERAS_STEPS),
        torch_code=_torch("Adamax([parameter], 1.0, betas=(0.9, 0.5), eps=0.1)", _TORCH_STEPS),
        keras_gives=[1.786],
        torch_gives=[1.866],
        keras_mend=Mend("epsilon=0.1", "epsilon=0.0"),
        torch_mend=Mend("eps=0.1", "eps=0"),
        after=1e-6,
        inherent="The mend leaves ε out on both sides, where a gradient that has always been 0 gives 0/0. "
        + _BETA_ROUNDED,
    ),
    Difference(
        name="adamax-rate",
        area="optimizer",
        title="Default learning rate of Adamax and NAdam",
        keras="0.001.",
        torch="0.002.",
        keras_place=Place("keras/src/optimizers/adamax.py", "Adamax.__init__", "learning_rate=0.001"),
        torch_place=Place("torch/optim/adamax.py", "Adamax.__init__", "lr: float | Tensor = 2e-3"),
        seen="Adamax's first step from a gradient of 1: 0.001 in Keras, 0.002 in torch.",
        matters="yes: twice the step",
        given="weight = np.zeros(1); gradient = np.ones(1)",
        keras_code=_keras("Adamax(epsilon=0.0)"),
        torch_code=_torch("Adamax([parameter], eps=0)"),
        keras_gives=[0.001],
        torch_gives=[0.002],
        torch_mend=Mend("eps=0)", "lr=0.001, eps=0)"),
        after=1e-6,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="nadam-momentum-schedule",
        area="optimizer",
        title="How fast NAdam's momentum rises",
        keras="μₜ = β₁·(1 - 0.5·0.96ᵗ): near β₁ after 100 steps.",
        torch="μₜ = β₁·(1 - 0.5·0.96^(0.004·t)): near β₁ after 25,000 steps.",
        keras_place=Place(
            "keras/src/optimizers/nadam.py", "Nadam.update_step", "1.0 - 0.5 * (ops.power(decay, local_step))"
        ),
        torch_place=Place("torch/optim/nadam.py", "_single_tensor_nadam", "0.96 ** (step * momentum_decay)"),
        seen="Rate 1, gradients 1, -1, -1: after three steps the weight has risen by 0.2310 in Keras, by 0.2942 in "
        "torch.",
        matters="yes: torch has half the momentum for thousands of steps",
        given="weight = np.zeros(1); gradients = np.array([[1.0], [-1.0], [-1.0]])",
        keras_code=_keras("Nadam(1.0, epsilon=0.0)", _KERAS_STEPS),
        torch_code=_torch("NAdam([parameter], 1.0, eps=0)", _TORCH_STEPS),
        keras_gives=[-0.231],
        torch_gives=[-0.2942],
        torch_mend=Mend("eps=0)", "eps=0, momentum_decay=1.0)"),
        after=1e-5,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="embedding-adam-sparse",
        area="optimizer",
        title="Adam on an embedding whose row occurs twice in a batch",
        keras="On TensorFlow the gradient is a list of rows: Adam adds the square of each occurrence to v.",
        torch="The occurrences are summed first; Adam squares the sum. So do Keras's torch and JAX backends.",
        keras_place=Place(
            "tensorflow/python/ops/array_grad.py", "_GatherV2Grad", "params_grad = indexed_slices_lib.IndexedSlices("
        ),
        torch_place=Place(
            "torch/optim/adam.py", "_single_tensor_adam", "exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)"
        ),
        seen="One row, twice in a batch, gradient 1 each: v is 2·(1 - β₂) in Keras, 4·(1 - β₂) in torch; at rate 1 "
        "the first step is 1.414 in Keras, 1 in torch.",
        matters="yes: every text model under Adam, and nothing tells",
        cost="weights up to 9e-3 apart after one step (largest move 1.4e-2), losses a quarter apart later on (n = 1)",
        given="tokens = np.array([[0, 0]])",
        keras_code="""
            import tensorflow as tf

            table = keras.layers.Embedding(2, 1, embeddings_initializer="zeros")
            table.build()
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(table(tokens))
            gradient = tape.gradient(loss, table.trainable_variables[0].value)
            keras.optimizers.Adam(1.0, epsilon=0.0).apply([gradient], table.trainable_variables)
            out = -table.get_weights()[0][0]
            """,
        torch_code="""
            table = nn.Embedding(2, 1)
            nn.init.zeros_(table.weight)
            table(torch.tensor(tokens)).sum().backward()
            torch.optim.Adam(table.parameters(), 1.0, eps=1e-30).step()
            out = -table.weight[0]
            """,
        keras_gives=[1.414],
        torch_gives=[1.0],
        keras_mend=Mend("apply([gradient]", "apply([tf.convert_to_tensor(gradient)]"),
        after=1e-5,
        inherent=_BETA_ROUNDED,
    ),
    Difference(
        name="gradients-accumulate",
        area="optimizer",
        title="Gradients from one step to the next",
        keras="Each step has its own gradients.",
        torch="backward() adds to those that are there; the loop has to call zero_grad().",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py",
            "TensorFlowTrainer.train_step",
            "gradients = tape.gradient(loss, trainable_weights)",
        ),
        torch_place=Place("torch/optim/optimizer.py", "Optimizer.zero_grad", "p.grad = None"),
        seen="Without zero_grad the second of two steps on the same batch is twice the first: SGD at rate 1 on a "
        "gradient of 1 moves by 2 in all in Keras, by 3 in torch.",
        matters="yes, where zero_grad is missing",
        given="x = np.ones((1, 1))",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
            model.compile(keras.optimizers.SGD(1.0), lambda target, output: -output, run_eagerly=True)
            for _ in range(2):
                model.train_on_batch(x, x)
            out = model.get_weights()[0]
            """,
        torch_code="""
            model, x = nn.Linear(1, 1, bias=False), torch.tensor(x)
            nn.init.zeros_(model.weight)
            optimizer = torch.optim.SGD(model.parameters(), 1.0)
            for _ in range(2):
                loss = -model(x).sum()
                loss.backward()
                optimizer.step()
            out = model.weight
            """,
        keras_gives=[2.0],
        torch_gives=[3.0],
        torch_mend=Mend("    loss.backward()", "    optimizer.zero_grad()\n    loss.backward()"),
    ),
    Difference(
        name="gradient-accumulation",
        since="Keras 3.0.2 is the first with the argument",
        area="optimizer",
        title="One step for several batches",
        keras="gradient_accumulation_steps=n takes the mean of n gradients.",
        torch="n calls of backward() make their sum. Lightning's accumulate_grad_batches=n divides the loss by n.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py", "BaseOptimizer._backend_apply_gradients", "(g + acc_g) / steps"
        ),
        torch_place=Place("torch/optim/optimizer.py", "Optimizer.zero_grad", "p.grad = None"),
        seen="Two gradients of 1 and SGD at rate 1: a step of 1 in Keras, of 2 in torch.",
        matters="yes, but for Adam, which divides by the size",
        given="weight = np.zeros(1); gradients = np.ones((2, 1))",
        keras_code=_keras("SGD(1.0, gradient_accumulation_steps=2)", _KERAS_STEPS),
        torch_code="""
            parameter = nn.Parameter(torch.tensor(weight))
            optimizer = torch.optim.SGD([parameter], 1.0)
            for gradient in gradients:
                loss = (parameter * torch.tensor(gradient)).sum()
                loss.backward()
            optimizer.step()
            out = weight - parameter.detach().numpy()
            """,
        keras_gives=[1.0],
        torch_gives=[2.0],
        torch_mend=Mend("loss.backward()", "(loss / len(gradients)).backward()"),
    ),
)
