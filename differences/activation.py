"""Activations that have a parameter, a form, or an axis."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="leaky-relu-slope",
        area="activation",
        title="Slope of LeakyReLU",
        keras="The layer LeakyReLU has 0.3; the function keras.ops.leaky_relu has 0.2.",
        torch="0.01.",
        keras_place=Place("keras/src/layers/activations/leaky_relu.py", "LeakyReLU.__init__", "negative_slope=0.3"),
        torch_place=Place("torch/nn/modules/activation.py", "LeakyReLU.__init__", "negative_slope: float = 1e-2"),
        seen="At -1: -0.3 in Keras, -0.01 in torch.",
        matters="yes: 30 times the slope",
        given="x = np.array([-1.0])",
        keras_code="out = keras.layers.LeakyReLU()(x)",
        torch_code="out = nn.LeakyReLU()(torch.tensor(x))",
        keras_gives=[-0.3],
        torch_gives=[-0.01],
        torch_mend=Mend("nn.LeakyReLU()", "nn.LeakyReLU(0.3)"),
        after=1e-7,
        inherent="TensorFlow's kernel takes the slope as a float32, in float64 too: 4e-8 off, see "
        "`leaky-relu-float32`.",
    ),
    Difference(
        name="leaky-relu-float32",
        area="activation",
        title="LeakyReLU's slope on TensorFlow is a float32",
        keras="tf.nn.leaky_relu has the slope as an attribute of type float32.",
        torch="The slope is a double.",
        keras_place=Place(
            "keras/src/backend/tensorflow/nn.py", "leaky_relu", "tf.nn.leaky_relu(x, alpha=negative_slope)"
        ),
        torch_place=Place("torch/nn/functional.py", "leaky_relu", "torch._C._nn.leaky_relu(input, negative_slope)"),
        seen="In float64 a slope of 0.1 is 0.10000000149 in Keras: 1.5e-9 off, 1.5e-8 of the value. Not with JAX "
        "or torch.",
        matters="no; it keeps two aligned runs in float64 from agreeing to the last digit",
        given="x = np.array([-1.0])",
        keras_code="out = 1e9 * (keras.layers.LeakyReLU(0.1)(x) + 0.1)",
        torch_code="""
            slope = 0.1
            out = 1e9 * (nn.LeakyReLU(slope)(torch.tensor(x)) + 0.1)
            """,
        keras_gives=[-1.49],
        torch_gives=[0.0],
        torch_mend=Mend("slope = 0.1", "slope = float(np.float32(0.1))"),
    ),
    Difference(
        name="gelu-form",
        area="activation",
        title="Form of GELU",
        keras='keras.ops.gelu approximates by tanh unless told otherwise; the activation "gelu" and '
        "keras.activations.gelu are exact.",
        torch='nn.GELU and F.gelu are exact; approximate="tanh" is the other form.',
        keras_place=Place("keras/src/ops/nn.py", "gelu", "def gelu(x, approximate=True):"),
        torch_place=Place("torch/nn/modules/activation.py", "GELU.__init__", 'approximate: str = "none"'),
        seen="The forms are at most 4.7e-4 apart, at ±2.7. At -3: -0.003637 by tanh, -0.004050 exactly.",
        matters="little: too small to see in a training, too large for rounding",
        given="x = np.array([-3.0])",
        keras_code="out = keras.ops.gelu(x)",
        torch_code="out = F.gelu(torch.tensor(x))",
        keras_gives=[-0.003637],
        torch_gives=[-0.00405],
        torch_mend=Mend("F.gelu(torch.tensor(x))", 'F.gelu(torch.tensor(x), approximate="tanh")'),
        after=1e-7,
        inherent="On TensorFlow the constants are rounded to float32, see `gelu-float32`.",
    ),
    Difference(
        name="softmax-axis",
        area="activation",
        title="Axis of softmax",
        keras="The last one.",
        torch="Softmax() without dim warns and takes axis 0 of one or three axes, else axis 1.",
        keras_place=Place("keras/src/layers/activations/softmax.py", "Softmax.__init__", "axis=-1"),
        torch_place=Place("torch/nn/functional.py", "_get_softmax_dim", "if ndim == 0 or ndim == 1 or ndim == 3:"),
        seen="Of the logarithms of (1, 3) and (1, 1) in a (2, 1, 2) tensor: rows (0.25, 0.75) and (0.5, 0.5) in "
        "Keras; (0.5, 0.75) and (0.5, 0.25) in torch, whose columns sum to 1.",
        matters="yes, with three axes; with two both take the last",
        given="x = np.log(np.array([[[1.0, 3.0]], [[1.0, 1.0]]]))",
        keras_code="out = keras.layers.Softmax()(x)",
        torch_code="out = nn.Softmax()(torch.tensor(x))",
        keras_gives=[0.25, 0.75, 0.5, 0.5],
        torch_gives=[0.5, 0.75, 0.5, 0.25],
        torch_mend=Mend("nn.Softmax()", "nn.Softmax(dim=-1)"),
    ),
    Difference(
        name="prelu-slopes",
        area="activation",
        title="Slopes of PReLU",
        keras="One slope for each value of the input but the batch, starting at 0: a ReLU.",
        torch="One slope for all, starting at 0.25.",
        keras_place=Place("keras/src/layers/activations/prelu.py", "PReLU.__init__", 'alpha_initializer="Zeros"'),
        torch_place=Place(
            "torch/nn/modules/activation.py", "PReLU.__init__", "num_parameters: int = 1, init: float = 0.25"
        ),
        seen="At -1 in a new layer: 0 in Keras, -0.25 in torch. A 28 by 28 image with 8 channels has 6,272 slopes "
        "in Keras, 1 in torch.",
        matters="yes: other starts, other numbers of parameters",
        given="x = -np.ones((1, 2, 2, 3))",
        keras_code="""
            layer = keras.layers.PReLU()
            out = [*layer(x)[0, 0, 0], layer.count_params()]
            """,
        torch_code="""
            layer = nn.PReLU()
            out = [*layer(torch.tensor(x).permute(0, 3, 1, 2))[0, :, 0, 0], sum(p.numel() for p in layer.parameters())]
            """,
        keras_gives=[0.0, 0.0, 0.0, 12],
        torch_gives=[-0.25, -0.25, -0.25, 1],
        keras_mend=Mend("keras.layers.PReLU()", "keras.layers.PReLU(shared_axes=[1, 2])"),
        torch_mend=Mend("nn.PReLU()", "nn.PReLU(3, init=0.0)"),
    ),
    Difference(
        name="softplus-threshold",
        area="activation",
        title="Softplus of large numbers",
        keras="log(1 + eˣ) everywhere.",
        torch="Softplus gives x itself above a threshold of 20.",
        keras_place=Place("keras/src/backend/tensorflow/nn.py", "softplus", "tf.math.softplus(x)"),
        torch_place=Place("torch/nn/modules/activation.py", "Softplus.__init__", "threshold: float = 20.0"),
        seen="At 21 Softplus(x) - x is 7.58e-10 in Keras, 0 in torch; below the resolution of float32.",
        matters="no",
        given="x = np.array([21.0])",
        keras_code="out = 1e9 * (keras.activations.softplus(x) - x)",
        torch_code="""
            x = torch.tensor(x)
            out = 1e9 * (nn.Softplus()(x) - x)
            """,
        keras_gives=[0.7583],
        torch_gives=[0.0],
        within=1e-2,
        torch_mend=Mend("nn.Softplus()(x)", "nn.Softplus(threshold=40.0)(x)"),
    ),
    Difference(
        name="gelu-float32",
        area="activation",
        title="GELU's constants on TensorFlow are rounded to float32",
        keras="tf.nn.gelu casts 1/√2 (of the exact form) and 0.044715 (of the other) through float32, in float64 too.",
        torch="Both are doubles.",
        keras_place=Place(
            "tensorflow/python/ops/nn_ops.py", "gelu", "math_ops.cast(0.7071067811865476, features.dtype)"
        ),
        torch_place=Place("torch/nn/functional.py", "", "gelu = _add_docstr(torch._C._nn.gelu"),
        seen="In float64 up to 5.0e-9 (exact form) and 9.0e-10 (tanh) between -6 and 6; at -1 4.1e-9. Not with JAX "
        "or torch.",
        matters="no; it keeps two aligned runs in float64 from agreeing to the last digit",
        given="x = np.array([-1.0]); exact = -0.15865525393145707",
        keras_code="out = np.round(1e9 * (keras.activations.gelu(x) - exact), 3)",
        torch_code="""
            x = torch.tensor(x)
            out = np.round(1e9 * (F.gelu(x) - exact), 3)
            """,
        keras_gives=[-4.141],
        torch_gives=[0.0],
        within=1e-3,
        torch_mend=Mend("F.gelu(x)", "0.5 * x * torch.erfc(-x * float(np.float32(0.5**0.5)))"),
    ),
)
