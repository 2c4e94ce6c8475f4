"""Dense layers."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="dense-initial-weights",
        area="dense",
        title="Initial kernel of a dense layer",
        keras="Dense draws its kernel from Glorot's uniform distribution, U(±√(6/(in + out))).",
        torch="Linear draws its weight from U(±1/√in), whatever the number of outputs.",
        keras_place=Place("keras/src/layers/core/dense.py", "Dense.__init__", 'kernel_initializer="glorot_uniform"'),
        torch_place=Place(
            "torch/nn/modules/linear.py",
            "Linear.reset_parameters",
            "init.kaiming_uniform_(self.weight, a=math.sqrt(5))",
        ),
        seen="The largest weight of a layer with 100 inputs and 400 outputs: 0.1095 in Keras, 0.1 in torch.",
        matters="seldom after many epochs; the runs part at the first step",
        cost="test accuracy within chance on this project's dense network: Keras -0.005, Lightning -0.035 points "
        "(n = 20 seeds, docs/framework-differences.md)",
        keras_code="""
            layer = keras.layers.Dense(400)
            layer.build((None, 100))
            out = np.abs(layer.get_weights()[0]).max()
            """,
        torch_code="""
            layer = nn.Linear(100, 400)
            out = layer.weight.abs().max()
            """,
        keras_gives=0.1095,
        torch_gives=0.1,
        torch_mend=Mend(
            "layer = nn.Linear(100, 400)\n", "layer = nn.Linear(100, 400)\nnn.init.xavier_uniform_(layer.weight)\n"
        ),
        after=1e-3,
        inherent="The generators differ: the mend makes the distributions equal, not the numbers.",
    ),
    Difference(
        name="dense-initial-bias",
        area="dense",
        title="Initial bias of a dense layer",
        keras="Dense starts with a bias of zeros.",
        torch="Linear draws its bias from U(±1/√in), the limits of its weight.",
        keras_place=Place("keras/src/layers/core/dense.py", "Dense.__init__", 'bias_initializer="zeros"'),
        torch_place=Place(
            "torch/nn/modules/linear.py", "Linear.reset_parameters", "init.uniform_(self.bias, -bound, bound)"
        ),
        seen="The largest initial bias of a layer with 100 inputs: 0 in Keras, 0.1 in torch.",
        matters="seldom after many epochs; the runs part at the first step",
        cost="measured together with dense-initial-weights: within chance (n = 20 seeds)",
        keras_code="""
            layer = keras.layers.Dense(2000)
            layer.build((None, 100))
            out = np.abs(layer.get_weights()[1]).max()
            """,
        torch_code="""
            layer = nn.Linear(100, 2000)
            out = layer.bias.abs().max()
            """,
        keras_gives=0.0,
        torch_gives=0.1,
        within=1e-2,
        torch_mend=Mend("layer = nn.Linear(100, 2000)\n", "layer = nn.Linear(100, 2000)\nnn.init.zeros_(layer.bias)\n"),
    ),
    Difference(
        name="dense-kernel-layout",
        area="dense",
        title="Layout of a dense kernel",
        keras="Dense multiplies by a kernel of shape (inputs, outputs).",
        torch="Linear holds its transpose, (outputs, inputs).",
        keras_place=Place(
            "keras/src/layers/core/dense.py", "Dense.build", "kernel_shape = (input_shape[-1], self.units)"
        ),
        torch_place=Place("torch/nn/modules/linear.py", "Linear.__init__", "torch.empty((out_features, in_features)"),
        seen="A square kernel goes across untransposed without an error; [[1, 2], [3, 4]] then maps (1, 10) to "
        "(31, 42) in Keras and to (21, 43) in torch.",
        matters="yes: a square layer is wrong without an error",
        given="kernel = np.array([[1.0, 2.0], [3.0, 4.0]]); x = np.array([[1.0, 10.0]])",
        keras_code="""
            layer = keras.layers.Dense(2, use_bias=False)
            layer.build((None, 2))
            layer.set_weights([kernel])
            out = layer(x)
            """,
        torch_code="""
            layer = nn.Linear(2, 2, bias=False)
            layer.load_state_dict({"weight": torch.tensor(kernel)})
            out = layer(torch.tensor(x))
            """,
        keras_gives=[31.0, 42.0],
        torch_gives=[21.0, 43.0],
        torch_mend=Mend("torch.tensor(kernel)", "torch.tensor(kernel.T)"),
    ),
)
