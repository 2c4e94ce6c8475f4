"""Convolutions: layouts, padding, the transposed and the depthwise one."""

from differences.entry import Difference, Mend, Place

_BASE = "keras/src/layers/convolutional/base_conv.py"
_TORCH = "torch/nn/modules/conv.py"
_GENERATORS = "The generators differ: the mend makes the distributions equal, not the numbers."

ENTRIES = (
    Difference(
        name="convolution-initial-weights",
        area="convolution",
        title="Initial kernel of a convolution",
        keras="Conv1D, 2D and 3D draw from Glorot's uniform distribution, U(±√(6/(k·in + k·out))), k being the "
        "kernel's size.",
        torch="Conv1d, 2d and 3d draw from U(±1/√(k·in)).",
        keras_place=Place(_BASE, "BaseConv.__init__", 'kernel_initializer="glorot_uniform"'),
        torch_place=Place(_TORCH, "_ConvNd.reset_parameters", "init.kaiming_uniform_(self.weight, a=math.sqrt(5))"),
        seen="The largest weight of a 3 by 3 kernel from 32 to 64 channels: 0.08333 in Keras, 0.05893 in torch.",
        matters="seldom after many epochs; the runs part at the first step",
        keras_code="""
            layer = keras.layers.Conv2D(64, 3)
            layer.build((None, 8, 8, 32))
            out = np.abs(layer.get_weights()[0]).max()
            """,
        torch_code="""
            layer = nn.Conv2d(32, 64, 3)
            out = layer.weight.abs().max()
            """,
        keras_gives=0.08333,
        torch_gives=0.05893,
        torch_mend=Mend("64, 3)\n", "64, 3)\nnn.init.xavier_uniform_(layer.weight)\n"),
        after=1e-3,
        inherent=_GENERATORS,
    ),
    Difference(
        name="convolution-initial-bias",
        area="convolution",
        title="Initial bias of a convolution",
        keras="Zeros.",
        torch="U(±1/√(k·in)), the limits of the weight.",
        keras_place=Place(_BASE, "BaseConv.__init__", 'bias_initializer="zeros"'),
        torch_place=Place(_TORCH, "_ConvNd.reset_parameters", "init.uniform_(self.bias, -bound, bound)"),
        seen="The largest initial bias after one channel and a 3 by 3 kernel: 0 in Keras, 0.3333 in torch.",
        matters="seldom after many epochs; the runs part at the first step",
        keras_code="""
            layer = keras.layers.Conv2D(2000, 3)
            layer.build((None, 8, 8, 1))
            out = np.abs(layer.get_weights()[1]).max()
            """,
        torch_code="""
            layer = nn.Conv2d(1, 2000, 3)
            out = layer.bias.abs().max()
            """,
        keras_gives=0.0,
        torch_gives=0.3333,
        torch_mend=Mend("2000, 3)\n", "2000, 3)\nnn.init.zeros_(layer.bias)\n"),
        within=1e-2,
    ),
    Difference(
        name="convolution-kernel-layout",
        area="convolution",
        title="Layout of a convolution's kernel",
        keras="(height, width, in, out).",
        torch="(out, in, height, width). Neither flips the kernel.",
        keras_place=Place(
            _BASE, "BaseConv.build", "kernel_shape = self.kernel_size + (input_channel // self.groups, self.filters,)"
        ),
        torch_place=Place(_TORCH, "_ConvNd.__init__", "(out_channels, in_channels // groups, *kernel_size)"),
        seen="An array reshaped instead of transposed fits without an error, and so does a transpose(3, 2, 1, 0), "
        "which exchanges height and width. The numbers 0 to 7 as a 2 by 2 kernel for two outputs, on a picture (1, "
        "2; 3, 4): (40, 50) in Keras, (20, 60) in torch when reshaped.",
        matters="yes: without an error",
        given="kernel = np.arange(8.0).reshape(2, 2, 1, 2); image = np.array([[1.0, 2.0], [3.0, 4.0]])",
        keras_code="""
            layer = keras.layers.Conv2D(2, 2, use_bias=False)
            layer.build((None, 2, 2, 1))
            layer.set_weights([kernel])
            out = layer(image.reshape(1, 2, 2, 1))
            """,
        torch_code="""
            layer = nn.Conv2d(1, 2, 2, bias=False)
            layer.load_state_dict({"weight": torch.tensor(kernel.reshape(2, 1, 2, 2))})
            out = layer(torch.tensor(image.reshape(1, 1, 2, 2)))
            """,
        keras_gives=[40.0, 50.0],
        torch_gives=[20.0, 60.0],
        torch_mend=Mend("kernel.reshape(2, 1, 2, 2)", "kernel.transpose(3, 2, 0, 1)"),
    ),
    Difference(
        name="convolution-image-layout",
        area="convolution",
        title="Layout of images and sequences",
        keras="Channels last: (batch, height, width, channels), unless data_format says otherwise.",
        torch="Channels first: (batch, channels, height, width), always.",
        keras_place=Place("keras/src/backend/config.py", "", '_IMAGE_DATA_FORMAT = "channels_last"'),
        torch_place=Place(_TORCH, "Conv2d", "(N, C_{\\text{in}}, H, W)"),
        seen="A wrong layout raises an error unless the sizes happen to fit; a reshape in the place of a transpose "
        "never does. Of a 1 by 2 image with 2 channels the first channel is (1, 3) in Keras, (1, 2) in torch.",
        matters="yes: a reshaped image has its pixels mixed up",
        given="pixels = np.array([1.0, 2.0, 3.0, 4.0])",
        keras_code="""
            image = pixels.reshape(1, 1, 2, 2)
            out = keras.ops.conv(image, np.array([[[[1.0], [0.0]]]]))
            """,
        torch_code="""
            image = torch.tensor(pixels).reshape(1, 2, 1, 2)
            out = F.conv2d(image, torch.tensor([[[[1.0]], [[0.0]]]]))
            """,
        keras_gives=[1.0, 3.0],
        torch_gives=[1.0, 2.0],
        torch_mend=Mend("reshape(1, 2, 1, 2)", "reshape(1, 1, 2, 2).permute(0, 3, 1, 2)"),
    ),
    Difference(
        name="flatten-order",
        area="convolution",
        title="Order of the values that Flatten passes on",
        keras="Flatten of (height, width, channels): the channel varies fastest.",
        torch="Flatten of (channels, height, width): the column varies fastest.",
        keras_place=Place(
            "keras/src/layers/reshaping/flatten.py",
            "Flatten.call",
            "ops.reshape(inputs, (input_shape[0], flattened_dim))",
        ),
        torch_place=Place(
            "torch/nn/modules/flatten.py", "Flatten.forward", "input.flatten(self.start_dim, self.end_dim)"
        ),
        seen="A 1 by 2 image with channels (1, 2) and (10, 20) becomes (1, 10, 2, 20) in Keras, (1, 2, 10, 20) in "
        "torch: the kernel of the dense layer that follows has its rows in another order.",
        matters="yes, when weights are carried over; not in a new training",
        given="image = np.array([[[[1.0, 10.0], [2.0, 20.0]]]])  # channels last",
        keras_code="out = keras.layers.Flatten()(image)",
        torch_code="""
            image = torch.tensor(image).permute(0, 3, 1, 2)
            out = nn.Flatten()(image)
            """,
        keras_gives=[1.0, 10.0, 2.0, 20.0],
        torch_gives=[1.0, 2.0, 10.0, 20.0],
        torch_mend=Mend("nn.Flatten()(image)", "nn.Flatten()(image.permute(0, 2, 3, 1))"),
    ),
    Difference(
        name="convolution-same-strided",
        area="convolution",
        title='padding="same" with a stride',
        keras="Pads as little as gives an output of ⌈size/stride⌉, the odd pixel at the end: a kernel of 3 at "
        "stride 2 on an even size pads (0, 1).",
        torch='padding=1 pads (1, 1), which gives the same size; padding="same" with a stride raises ValueError.',
        keras_place=Place("keras/src/backend/tensorflow/nn.py", "conv", "padding.upper()"),
        torch_place=Place(_TORCH, "_ConvNd.__init__", "padding='same' is not supported for strided convolutions"),
        seen="Every window lies one pixel further on. Sums of three of (1, 2, 3, 4) at stride 2: (6, 7) in Keras, "
        "(3, 9) in torch.",
        matters="yes: all outputs differ, by 0.8 at outputs of order 1 in a small network",
        given="x = np.array([1.0, 2.0, 3.0, 4.0])",
        keras_code="""
            layer = keras.layers.Conv1D(1, 3, strides=2, padding="same", kernel_initializer="ones")
            out = layer(x.reshape(1, 4, 1))
            """,
        torch_code="""
            x = torch.tensor(x).reshape(1, 1, 4)
            out = F.conv1d(x, torch.ones(1, 1, 3), stride=2, padding=1)
            """,
        keras_gives=[6.0, 7.0],
        torch_gives=[3.0, 9.0],
        torch_mend=Mend(
            "F.conv1d(x, torch.ones(1, 1, 3), stride=2, padding=1)",
            "F.conv1d(F.pad(x, (0, 1)), torch.ones(1, 1, 3), stride=2)",
        ),
    ),
    Difference(
        name="convolution-same-even-kernel",
        area="convolution",
        title='padding="same" with an even kernel',
        keras="Pads a pixel more at the end: a kernel of 2 pads (0, 1). The output keeps its size.",
        torch='padding="same" does the same, but the usual padding=kernel // 2 pads (1, 1): the output is one longer.',
        keras_place=Place("keras/src/backend/tensorflow/nn.py", "conv", "padding.upper()"),
        torch_place=Place(_TORCH, "_ConvNd.__init__", "total_padding - left_pad"),
        seen="The sizes: sums of two of (1, 2, 3) are (3, 5, 3) in Keras, (1, 3, 5, 3) in torch with padding=1.",
        matters="yes; mostly an error of shapes later on",
        given="x = np.array([1.0, 2.0, 3.0])",
        keras_code="""
            layer = keras.layers.Conv1D(1, 2, padding="same", kernel_initializer="ones")
            out = layer(x.reshape(1, 3, 1))
            """,
        torch_code="""
            x = torch.tensor(x).reshape(1, 1, 3)
            out = F.conv1d(x, torch.ones(1, 1, 2), padding=2 // 2)
            """,
        keras_gives=[3.0, 5.0, 3.0],
        torch_gives=[1.0, 3.0, 5.0, 3.0],
        torch_mend=Mend("padding=2 // 2", 'padding="same"'),
    ),
    Difference(
        name="convolution-causal",
        area="convolution",
        title="Causal convolution",
        keras='Conv1D has padding="causal", zeros before the sequence only.',
        torch="Conv1d has none; its padding goes to both ends.",
        keras_place=Place(
            "keras/src/layers/convolutional/base_conv.py",
            "BaseConv.__init__",
            "standardize_padding(padding, allow_causal=rank == 1)",
        ),
        torch_place=Place(_TORCH, "_ConvNd.__init__", 'valid_padding_strings = {"same", "valid"}'),
        seen='padding="causal" raises ValueError in torch; padding=2 in its place lets a window see the future.',
        matters="yes",
        given="x = np.array([1.0, 2.0, 3.0])",
        keras_code="""
            layer = keras.layers.Conv1D(1, 3, padding="causal", kernel_initializer="ones")
            out = layer(x.reshape(1, 3, 1))
            """,
        torch_code="""
            x = torch.tensor(x).reshape(1, 1, 3)
            layer = nn.Conv1d(1, 1, 3, padding="causal")
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
            out = layer(x)
            """,
        keras_gives=[1.0, 3.0, 6.0],
        torch_gives="ValueError",
        torch_mend=Mend(
            'x = torch.tensor(x).reshape(1, 1, 3)\nlayer = nn.Conv1d(1, 1, 3, padding="causal")',
            "x = F.pad(torch.tensor(x).reshape(1, 1, 3), (3 - 1, 0))\nlayer = nn.Conv1d(1, 1, 3)",
        ),
    ),
    Difference(
        name="convolution-transpose-layout",
        area="convolution",
        title="Layout of a transposed convolution's kernel",
        keras="(height, width, out, in): in and out exchanged against Conv2D.",
        torch="(in, out, height, width): exchanged against Conv2d, too.",
        keras_place=Place(
            "keras/src/layers/convolutional/base_conv_transpose.py",
            "BaseConvTranspose.build",
            "kernel_shape = self.kernel_size + (self.filters, input_channel,)",
        ),
        torch_place=Place(_TORCH, "_ConvNd.__init__", "(in_channels, out_channels // groups, *kernel_size)"),
        seen="The order for Conv2D, transpose(3, 2, 0, 1), is right here as well; a reshape is not: the numbers 0 "
        "to 3 come out as (0, 1, 2, 3) in Keras, as (0, 2, 1, 3) in torch when reshaped.",
        matters="yes: without an error",
        given="kernel = np.arange(4.0).reshape(2, 1, 2, 1)",
        keras_code="""
            layer = keras.layers.Conv2DTranspose(2, (2, 1), use_bias=False)
            layer.build((None, 1, 1, 1))
            layer.set_weights([kernel])
            out = layer(np.ones((1, 1, 1, 1)))
            """,
        torch_code="""
            layer = nn.ConvTranspose2d(1, 2, (2, 1), bias=False)
            layer.load_state_dict({"weight": torch.tensor(kernel.reshape(1, 2, 2, 1))})
            out = layer(torch.ones(1, 1, 1, 1)).permute(0, 2, 3, 1)
            """,
        keras_gives=[0.0, 1.0, 2.0, 3.0],
        torch_gives=[0.0, 2.0, 1.0, 3.0],
        torch_mend=Mend("kernel.reshape(1, 2, 2, 1)", "kernel.transpose(3, 2, 0, 1)"),
    ),
    Difference(
        name="convolution-transpose-same",
        area="convolution",
        title='Transposed convolution with padding="same"',
        keras='padding="same" gives size·stride; for a kernel of 3 at stride 2 the last row is cut off.',
        torch="padding=1 cuts a row at both ends and gives 2·size - 1; output_padding=1 adds one at the end: the "
        "size fits and the values lie one further on.",
        keras_place=Place(
            "keras/src/backend/common/backend_utils.py",
            "_get_output_shape_given_tf_padding",
            "return input_size * strides",
        ),
        torch_place=Place(
            "torch/nn/modules/conv.py", "ConvTranspose1d.forward", "output_padding = self._output_padding("
        ),
        seen="A single 1 through a kernel (1, 2, 3) at stride 2: (1, 2) in Keras, (2, 3) in torch with padding=1 "
        "and output_padding=1.",
        matters="yes: the image lies one pixel further on",
        given="kernel = np.array([1.0, 2.0, 3.0])",
        keras_code="""
            layer = keras.layers.Conv1DTranspose(1, 3, strides=2, padding="same", use_bias=False)
            layer.build((None, 1, 1))
            layer.set_weights([kernel.reshape(3, 1, 1)])
            out = layer(np.ones((1, 1, 1)))
            """,
        torch_code="""
            x, kernel = torch.ones(1, 1, 1), torch.tensor(kernel).reshape(1, 1, 3)
            out = F.conv_transpose1d(x, kernel, stride=2, padding=1, output_padding=1)
            """,
        keras_gives=[1.0, 2.0],
        torch_gives=[2.0, 3.0],
        torch_mend=Mend("stride=2, padding=1, output_padding=1)", "stride=2)[..., : 2 * x.shape[-1]]"),
    ),
    Difference(
        name="convolution-transpose-short-kernel",
        area="convolution",
        title="Transposed convolution whose kernel is smaller than its stride",
        keras='padding="valid" fills up to a full stride at the end: size·stride.',
        torch="It ends with the last kernel: (size - 1)·stride + kernel.",
        keras_place=Place(
            "keras/src/backend/common/backend_utils.py",
            "_get_output_shape_given_tf_padding",
            "max(kernel_size, strides) - kernel_size",
        ),
        torch_place=Place("torch/nn/modules/conv.py", "_ConvTransposeNd.__init__", "output_padding"),
        seen="The sizes: a kernel of 1 at stride 3 makes 6 of 2 in Keras, 4 in torch.",
        matters="where such layers are used; mostly an error of shapes later on",
        keras_code="""
            layer = keras.layers.Conv1DTranspose(1, 1, strides=3, kernel_initializer="ones")
            out = layer(np.array([[[1.0], [2.0]]]))
            """,
        torch_code="""
            x = torch.tensor([[[1.0, 2.0]]])
            out = F.conv_transpose1d(x, torch.ones(1, 1, 1), stride=3)
            """,
        keras_gives=[1.0, 0.0, 0.0, 2.0, 0.0, 0.0],
        torch_gives=[1.0, 0.0, 0.0, 2.0],
        torch_mend=Mend("stride=3", "stride=3, output_padding=3 - 1"),
    ),
    Difference(
        name="convolution-depthwise-layout",
        area="convolution",
        title="Depthwise convolution",
        keras="DepthwiseConv2D has a kernel of shape (height, width, in, multiplier).",
        torch="Conv2d(in, in·multiplier, groups=in) has (in·multiplier, 1, height, width), the multiplier varying "
        "faster than the channel.",
        keras_place=Place(
            "keras/src/layers/convolutional/base_depthwise_conv.py",
            "BaseDepthwiseConv.build",
            "depthwise_shape = self.kernel_size + (input_channel, self.depth_multiplier,)",
        ),
        torch_place=Place(_TORCH, "_ConvNd.__init__", "(out_channels, in_channels // groups, *kernel_size)"),
        seen="The order for Conv2D, transpose(3, 2, 0, 1), has the right number of values and mixes up the "
        "channels: (1, 2, 30, 40) in Keras, (1, 3, 20, 40) in torch.",
        matters="yes, when weights are carried over",
        given="kernel = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]); pixel = np.array([1.0, 10.0])",
        keras_code="""
            layer = keras.layers.DepthwiseConv2D(1, depth_multiplier=2, use_bias=False)
            layer.build((None, 1, 1, 2))
            layer.set_weights([kernel])
            out = layer(pixel.reshape(1, 1, 1, 2))
            """,
        torch_code="""
            layer = nn.Conv2d(2, 4, 1, groups=2, bias=False)
            layer.load_state_dict({"weight": torch.tensor(kernel.transpose(3, 2, 0, 1).reshape(4, 1, 1, 1))})
            out = layer(torch.tensor(pixel).reshape(1, 2, 1, 1))
            """,
        keras_gives=[1.0, 2.0, 30.0, 40.0],
        torch_gives=[1.0, 3.0, 20.0, 40.0],
        torch_mend=Mend("kernel.transpose(3, 2, 0, 1)", "kernel.transpose(2, 3, 0, 1)"),
    ),
    Difference(
        name="convolution-depthwise-initial-weights",
        area="convolution",
        title="Initial kernel of a depthwise convolution",
        keras="Glorot's limits, with all channels for the inputs though each output sees one: ±√(6/(k·in + "
        "k·multiplier)).",
        torch="±1/√k: of a group only.",
        keras_place=Place(
            "keras/src/initializers/random_initializers.py", "compute_fans", "fan_in = shape[-2] * receptive_field_size"
        ),
        torch_place=Place(
            "torch/nn/init.py", "_calculate_fan_in_and_fan_out", "fan_in = num_input_fmaps * receptive_field_size"
        ),
        seen="The largest weight of a 3 by 3 kernel on 64 channels: 0.1013 in Keras, 0.3333 in torch.",
        matters="yes: activations start several times smaller in Keras",
        keras_code="""
            layer = keras.layers.DepthwiseConv2D(3)
            layer.build((None, 8, 8, 64))
            out = np.abs(layer.get_weights()[0]).max()
            """,
        torch_code="""
            layer = nn.Conv2d(64, 64, 3, groups=64)
            out = layer.weight.abs().max()
            """,
        keras_gives=0.1013,
        torch_gives=0.3333,
        within=0.01,
        torch_mend=Mend(
            "groups=64)\n",
            "groups=64)\nlimit = (6 / (9 * 64 + 9 * 1)) ** 0.5\nnn.init.uniform_(layer.weight, -limit, limit)\n",
        ),
        after=0.01,
        inherent=_GENERATORS,
    ),
)
