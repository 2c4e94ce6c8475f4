"""Pooling, mostly at borders."""

from differences.entry import Difference, Mend, Place

_KERAS = "keras/src/backend/tensorflow/nn.py"

ENTRIES = (
    Difference(
        name="pooling-average-border",
        area="pooling",
        title="Average pooling at a border",
        keras='padding="same" divides by the number of pixels that are there.',
        torch="padding=1 counts the zeros it pads, unless count_include_pad=False.",
        keras_place=Place(_KERAS, "average_pool", "tf.nn.avg_pool("),
        torch_place=Place("torch/nn/modules/pooling.py", "AvgPool2d.__init__", "count_include_pad: bool = True"),
        seen="The average over three of (3, 3, 3) at stride 1: 3 everywhere in Keras, (2, 3, 2) in torch.",
        matters="yes, at borders: a third less",
        given="x = np.array([3.0, 3.0, 3.0])",
        keras_code="""
            layer = keras.layers.AveragePooling1D(3, strides=1, padding="same")
            out = layer(x.reshape(1, 3, 1))
            """,
        torch_code="""
            layer = nn.AvgPool1d(3, stride=1, padding=1)
            out = layer(torch.tensor(x).reshape(1, 1, 3))
            """,
        keras_gives=[3.0, 3.0, 3.0],
        torch_gives=[2.0, 3.0, 2.0],
        torch_mend=Mend("padding=1", "padding=1, count_include_pad=False"),
    ),
    Difference(
        name="pooling-same-odd-size",
        area="pooling",
        title='Pooling with padding="same" on an odd size',
        keras='padding="same" keeps the last, incomplete window: ⌈size/stride⌉.',
        torch="It is left out: ⌊size/stride⌋. Keras's default padding, valid, leaves it out as well.",
        keras_place=Place(_KERAS, "max_pool", "tf.nn.max_pool("),
        torch_place=Place("torch/nn/modules/pooling.py", "_MaxPoolNd.__init__", "ceil_mode: bool = False"),
        seen="The largest of two of (1, 2, 3): (2, 3) in Keras, (2) in torch.",
        matters="yes; mostly an error of shapes later on",
        given="x = np.array([1.0, 2.0, 3.0])",
        keras_code='out = keras.layers.MaxPooling1D(2, padding="same")(x.reshape(1, 3, 1))',
        torch_code="out = nn.MaxPool1d(2)(torch.tensor(x).reshape(1, 1, 3))",
        keras_gives=[2.0, 3.0],
        torch_gives=[2.0],
        torch_mend=Mend("nn.MaxPool1d(2)", "nn.MaxPool1d(2, ceil_mode=True)"),
    ),
    Difference(
        name="pooling-same-strided",
        area="pooling",
        title='Overlapping pooling with padding="same"',
        keras="A window of 3 at stride 2 on an even size pads (0, 1), as a convolution does.",
        torch="padding=1 pads (1, 1): the same size, every window one pixel earlier.",
        keras_place=Place(_KERAS, "max_pool", "tf.nn.max_pool("),
        torch_place=Place("torch/nn/modules/pooling.py", "_MaxPoolNd.__init__", "padding: _size_any_t = 0"),
        seen="The largest of three of (1, 2, 3, 4) at stride 2: (3, 4) in Keras, (2, 4) in torch. ResNets have "
        "such a layer.",
        matters="yes: all outputs differ",
        given="x = np.array([1.0, 2.0, 3.0, 4.0])",
        keras_code="""
            layer = keras.layers.MaxPooling1D(3, strides=2, padding="same")
            out = layer(x.reshape(1, 4, 1))
            """,
        torch_code="""
            x = torch.tensor(x).reshape(1, 1, 4)
            out = F.max_pool1d(x, 3, stride=2, padding=1)
            """,
        keras_gives=[3.0, 4.0],
        torch_gives=[2.0, 4.0],
        torch_mend=Mend(
            "F.max_pool1d(x, 3, stride=2, padding=1)",
            'F.max_pool1d(F.pad(x, (0, 1), value=-float("inf")), 3, stride=2)',
        ),
    ),
    Difference(
        name="pooling-global-shape",
        area="pooling",
        title="Shape after global pooling",
        keras="GlobalAveragePooling2D gives (batch, channels).",
        torch="AdaptiveAvgPool2d(1) gives (batch, channels, 1, 1); a dense layer after it wants a Flatten.",
        keras_place=Place(
            "keras/src/layers/pooling/base_global_pooling.py", "BaseGlobalPooling.__init__", "keepdims=False"
        ),
        torch_place=Place(
            "torch/nn/modules/pooling.py", "AdaptiveAvgPool2d.forward", "F.adaptive_avg_pool2d(input, self.output_size)"
        ),
        seen="The number of axes: 2 in Keras, 4 in torch.",
        matters="an error of shapes, or none where what follows broadcasts",
        keras_code="out = keras.layers.GlobalAveragePooling2D()(np.ones((1, 4, 4, 3))).ndim",
        torch_code="out = nn.AdaptiveAvgPool2d(1)(torch.ones(1, 3, 4, 4)).ndim",
        keras_gives=2,
        torch_gives=4,
        torch_mend=Mend("(torch.ones(1, 3, 4, 4))", "(torch.ones(1, 3, 4, 4)).flatten(1)"),
    ),
    Difference(
        name="pooling-global-max-ties",
        area="pooling",
        title="Gradient of a global maximum that occurs twice",
        keras="GlobalMaxPooling shares the gradient among all pixels that have the maximum.",
        torch="AdaptiveMaxPool2d(1) and max(dim) give it to one of them; amax shares it, as Keras does.",
        keras_place=Place(
            "keras/src/layers/pooling/global_max_pooling2d.py", "GlobalMaxPooling2D.call", "ops.max(inputs"
        ),
        torch_place=Place(
            "torch/nn/functional.py", "adaptive_max_pool2d_with_indices", "torch._C._nn.adaptive_max_pool2d"
        ),
        seen="The gradient at (5, 5, 1): (0.5, 0.5, 0) in Keras, (1, 0, 0) in torch. After a ReLU maxima of 0 are "
        "common.",
        matters="little: the sum of the gradient is the same",
        given="x = np.array([5.0, 5.0, 1.0])",
        keras_code="""
            import tensorflow as tf

            pixels = tf.Variable(x.reshape(1, 3, 1, 1))
            with tf.GradientTape() as tape:
                largest = keras.layers.GlobalMaxPooling2D()(pixels)
            out = tape.gradient(largest, pixels)
            """,
        torch_code="""
            pixels = torch.tensor(x).reshape(1, 1, 3, 1).requires_grad_()
            largest = nn.AdaptiveMaxPool2d(1)(pixels)
            largest.sum().backward()
            out = pixels.grad
            """,
        keras_gives=[0.5, 0.5, 0.0],
        torch_gives=[1.0, 0.0, 0.0],
        torch_mend=Mend("nn.AdaptiveMaxPool2d(1)(pixels)", "pixels.amax((2, 3))"),
    ),
)
