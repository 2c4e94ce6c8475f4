"""Normalisation over the batch, over features, over groups."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="batchnorm-epsilon",
        area="normalisation",
        title="ε of batch normalisation",
        keras="BatchNormalization adds ε = 0.001 to the variance.",
        torch="BatchNorm1d, 2d and 3d add ε = 0.00001.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py", "BatchNormalization.__init__", "epsilon=1e-3"
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "_NormBase.__init__", "eps: float = 1e-5"),
        seen="With the same statistics the output is scaled by 1/√(variance + ε): at a variance of 0.001 by 22.36 "
        "in Keras and 31.47 in torch, at a variance of 1 by 0.9995 and 1.",
        matters="yes, where a channel's variance is below about 0.1",
        given="variance = np.array([0.001, 1.0])",
        keras_code="""
            layer = keras.layers.BatchNormalization()
            layer.build((None, 2))
            layer.set_weights([np.ones(2), np.zeros(2), np.zeros(2), variance])
            out = layer(np.ones((1, 2)))
            """,
        torch_code="""
            layer = nn.BatchNorm1d(2).eval()
            layer.running_var.copy_(torch.tensor(variance))
            out = layer(torch.ones(1, 2))
            """,
        keras_gives=[22.36, 0.9995],
        torch_gives=[31.47, 1.0],
        torch_mend=Mend("nn.BatchNorm1d(2)", "nn.BatchNorm1d(2, eps=1e-3)"),
    ),
    Difference(
        name="batchnorm-momentum",
        area="normalisation",
        title="Momentum of batch normalisation's running statistics",
        keras="momentum=0.99 is the share of the old value: new = 0.99·old + 0.01·batch.",
        torch="momentum=0.1 is the share of the batch: new = 0.9·old + 0.1·batch.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py", "BatchNormalization.__init__", "momentum=0.99"
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "_NormBase.__init__", "momentum: float | None = 0.1"),
        seen="After one batch of mean 1 the running mean, which starts at 0, is 0.01 in Keras and 0.1 in torch. "
        "Keras's value carried over as it is, momentum=0.99, gives 0.99.",
        matters="yes, in evaluation: after 100 batches 37% of Keras's statistics are still those of the start",
        given="x = np.array([[0.0], [2.0]])",
        keras_code="""
            layer = keras.layers.BatchNormalization()
            layer(x, training=True)
            out = layer.moving_mean
            """,
        torch_code="""
            layer = nn.BatchNorm1d(1)
            layer(torch.tensor(x))
            out = layer.running_mean
            """,
        keras_gives=[0.01],
        torch_gives=[0.1],
        torch_mend=Mend("nn.BatchNorm1d(1)", "nn.BatchNorm1d(1, momentum=1 - 0.99)"),
    ),
    Difference(
        name="batchnorm-running-variance",
        area="normalisation",
        title="Which variance batch normalisation keeps",
        keras="The running variance averages the variance of each batch, the squares divided by n.",
        torch="It averages the unbiased one, divided by n - 1; the output of the batch itself is normalised with n.",
        keras_place=Place(
            "keras/src/backend/tensorflow/nn.py", "_compute_moments", "tf.nn.moments(x, axes, keepdims=keepdims)"
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "BatchNorm1d", "via the unbiased estimator"),
        seen="After many batches of (0, 2) the running variance is 1 in Keras and 2 in torch; in general torch's "
        "is n/(n - 1) times as large, n being the batch times height and width.",
        matters="only with small batches: 3% of the variance at n = 32, nothing to see in images",
        cost="4e-6 of the running variance after one step of a small convolutional network (n = 1)",
        given="x = np.array([[0.0], [2.0]])",
        keras_code="""
            layer = keras.layers.BatchNormalization(momentum=0.0)
            layer(x, training=True)
            out = layer.moving_variance
            """,
        torch_code="""
            layer = nn.BatchNorm1d(1, momentum=1.0)
            layer(torch.tensor(x))
            out = layer.running_var
            """,
        keras_gives=[1.0],
        torch_gives=[2.0],
        torch_mend=Mend(
            "out = layer.running_var", "n = len(x)  # times height and width\nout = layer.running_var * (n - 1) / n"
        ),
        inherent="No setting changes it; with batches of one size the correction can be made once, after training.",
    ),
    Difference(
        name="batchnorm-one-value",
        area="normalisation",
        title="Batch normalisation of a batch of one",
        keras="One value a channel has variance 0: the output is the offset, 0, without an error.",
        torch="BatchNorm in training mode raises ValueError.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py",
            "BatchNormalization.call",
            "mean, variance = self._moments(",
        ),
        torch_place=Place(
            "torch/nn/functional.py", "_verify_batch_size", "Expected more than 1 value per channel when training"
        ),
        seen='torch: "Expected more than 1 value per channel when training", often in the last, smaller batch of '
        "an epoch. Keras trains on, and the sample teaches the layers before nothing.",
        matters="where the last batch has one sample",
        given="x = np.array([[3.0, 5.0]])",
        keras_code="""
            layer = keras.layers.BatchNormalization()
            out = layer(x, training=True)
            """,
        torch_code="""
            layer = nn.BatchNorm1d(2)
            out = layer(torch.tensor(x))
            """,
        keras_gives=[0.0, 0.0],
        torch_gives="ValueError",
        torch_mend=Mend(
            "out = layer(torch.tensor(x))",
            "x = torch.tensor(x)\nout = layer(x) if len(x) > 1 else (x - x) + layer.bias",
        ),
        inherent="Better drop such a batch on both sides: DataLoader(drop_last=True).",
    ),
    Difference(
        name="batchnorm-frozen",
        area="normalisation",
        title="A frozen batch normalisation",
        keras="layer.trainable = False also makes it use and keep its running statistics, even with training=True.",
        torch="requires_grad_(False) stops the gradients only; in training mode it still uses the batch's "
        "statistics and updates its own.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py",
            "BatchNormalization.call",
            "if training and self.trainable:",
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "_BatchNorm.forward", "bn_training = True"),
        seen="The running mean after a batch of mean 1 through the frozen layer: 0 in Keras, 0.1 in torch.",
        matters="yes, in fine-tuning",
        given="x = np.array([[0.0], [2.0]])",
        keras_code="""
            layer = keras.layers.BatchNormalization()
            layer.trainable = False
            layer(x, training=True)
            out = layer.moving_mean
            """,
        torch_code="""
            layer = nn.BatchNorm1d(1)
            layer.requires_grad_(False)
            layer(torch.tensor(x))
            out = layer.running_mean
            """,
        keras_gives=[0.0],
        torch_gives=[0.1],
        torch_mend=Mend("layer.requires_grad_(False)", "layer.requires_grad_(False).eval()"),
    ),
    Difference(
        name="batchnorm-axis",
        area="normalisation",
        title="Which axis batch normalisation takes for the channels",
        keras="The last axis (axis=-1).",
        torch="Axis 1, always.",
        keras_place=Place(
            "keras/src/layers/normalization/batch_normalization.py", "BatchNormalization.__init__", "axis=-1"
        ),
        torch_place=Place("torch/nn/modules/batchnorm.py", "BatchNorm1d", "(N, C, L)"),
        seen="A sequence of shape (batch, 2, 2) goes through either without an error, with statistics over other "
        "values: of ((0, 10), (2, 30)) Keras makes ((-1, -1), (1, 1)), torch ((-1, 1), (-1, 1)).",
        matters="yes: without an error where the sizes of both axes agree",
        given="x = np.array([[[0.0, 10.0], [2.0, 30.0]]])",
        keras_code="""
            layer = keras.layers.BatchNormalization(epsilon=1e-5)
            out = layer(x, training=True)
            """,
        torch_code="""
            layer = nn.BatchNorm1d(2)
            out = layer(torch.tensor(x))
            """,
        keras_gives=[-1.0, -1.0, 1.0, 1.0],
        torch_gives=[-1.0, 1.0, -1.0, 1.0],
        torch_mend=Mend("layer(torch.tensor(x))", "layer(torch.tensor(x).transpose(1, 2)).transpose(1, 2)"),
    ),
    Difference(
        name="layernorm-epsilon",
        area="normalisation",
        title="ε of layer normalisation",
        keras="LayerNormalization adds ε = 0.001 to the variance.",
        torch="LayerNorm adds ε = 0.00001.",
        keras_place=Place(
            "keras/src/layers/normalization/layer_normalization.py", "LayerNormalization.__init__", "epsilon=1e-3"
        ),
        torch_place=Place("torch/nn/modules/normalization.py", "LayerNorm.__init__", "eps: float = 1e-5"),
        seen="A row (0.01, 0.03), of variance 0.0001: normalised to ±0.3015 in Keras, ±0.9535 in torch.",
        matters="yes, where a row's variance is below about 0.1",
        given="x = np.array([[0.01, 0.03]])",
        keras_code="out = keras.layers.LayerNormalization()(x)",
        torch_code="out = nn.LayerNorm(2)(torch.tensor(x))",
        keras_gives=[-0.3015, 0.3015],
        torch_gives=[-0.9535, 0.9535],
        torch_mend=Mend("nn.LayerNorm(2)", "nn.LayerNorm(2, eps=1e-3)"),
    ),
    Difference(
        name="layernorm-axes",
        area="normalisation",
        title="Which axes layer normalisation takes together",
        keras="The last axis alone: of an image each pixel's channels.",
        torch="All axes in normalized_shape; the usual LayerNorm([channels, height, width]) takes an image as a "
        "whole, with a scale and an offset for each of its values.",
        keras_place=Place(
            "keras/src/layers/normalization/layer_normalization.py", "LayerNormalization.__init__", "axis=-1"
        ),
        torch_place=Place(
            "torch/nn/modules/normalization.py", "LayerNorm.__init__", "self.normalized_shape = tuple(normalized_shape)"
        ),
        seen="The number of parameters for images of 2 channels and 3 by 3 pixels: 4 in Keras, 36 in torch.",
        matters="yes, on images",
        keras_code="""
            layer = keras.layers.LayerNormalization()
            layer.build((None, 3, 3, 2))
            out = layer.count_params()
            """,
        torch_code="""
            layer = nn.LayerNorm([2, 3, 3])
            out = sum(p.numel() for p in layer.parameters())
            """,
        keras_gives=4,
        torch_gives=36,
        torch_mend=Mend("nn.LayerNorm([2, 3, 3])", "nn.LayerNorm(2)  # and call it on channels last"),
    ),
    Difference(
        name="groupnorm-epsilon",
        area="normalisation",
        title="ε and default number of groups of group normalisation",
        keras="GroupNormalization has 32 groups unless told otherwise, and ε = 0.001.",
        torch="GroupNorm has no default number of groups, and ε = 0.00001.",
        keras_place=Place(
            "keras/src/layers/normalization/group_normalization.py", "GroupNormalization.__init__", "epsilon=1e-3"
        ),
        torch_place=Place("torch/nn/modules/normalization.py", "GroupNorm.__init__", "eps: float = 1e-5"),
        seen="A group (0.01, 0.03), of variance 0.0001: normalised to ±0.3015 in Keras, ±0.9535 in torch.",
        matters="yes, where a group's variance is below about 0.1",
        given="x = np.array([[0.01, 0.03]])",
        keras_code="out = keras.layers.GroupNormalization(groups=1)(x)",
        torch_code="out = nn.GroupNorm(1, 2)(torch.tensor(x))",
        keras_gives=[-0.3015, 0.3015],
        torch_gives=[-0.9535, 0.9535],
        torch_mend=Mend("nn.GroupNorm(1, 2)", "nn.GroupNorm(1, 2, eps=1e-3)"),
    ),
    Difference(
        name="instancenorm-parameters",
        area="normalisation",
        title="Parameters of instance normalisation",
        keras="GroupNormalization(groups=-1), Keras's instance normalisation, learns a scale and an offset a channel.",
        torch="InstanceNorm1d, 2d and 3d learn nothing unless affine=True.",
        keras_place=Place(
            "keras/src/layers/normalization/group_normalization.py", "GroupNormalization.__init__", "scale=True"
        ),
        torch_place=Place("torch/nn/modules/instancenorm.py", "_InstanceNorm.__init__", "affine: bool = False"),
        seen="The number of parameters for 3 channels: 6 in Keras, 0 in torch.",
        matters="yes: one side learns a scale that the other lacks",
        keras_code="""
            layer = keras.layers.GroupNormalization(groups=-1)
            layer.build((None, 4, 4, 3))
            out = layer.count_params()
            """,
        torch_code="""
            layer = nn.InstanceNorm2d(3)
            out = sum(p.numel() for p in layer.parameters())
            """,
        keras_gives=6,
        torch_gives=0,
        torch_mend=Mend("nn.InstanceNorm2d(3)", "nn.InstanceNorm2d(3, affine=True, eps=1e-3)"),
    ),
    Difference(
        name="rmsnorm-epsilon",
        since="Keras 3.9.0 is the first with such a layer; torch 2.0.0 has none",
        area="normalisation",
        title="ε of RMS normalisation",
        keras="RMSNormalization adds ε = 1e-6 to the mean square.",
        torch="RMSNorm adds the machine epsilon of the type it computes in: 1.2e-7 for float32, 2.2e-16 for float64.",
        keras_place=Place(
            "keras/src/layers/normalization/rms_normalization.py", "RMSNormalization.__init__", "epsilon=1e-6"
        ),
        torch_place=Place("torch/nn/modules/normalization.py", "RMSNorm.__init__", "eps: float | None = None"),
        seen="A row (0.001, 0.001), of mean square 1e-6: 0.7071 in Keras, 1 in torch.",
        matters="only for rows smaller than about 0.01",
        given="x = np.array([[0.001, 0.001]])",
        keras_code="out = keras.layers.RMSNormalization()(x)",
        torch_code="out = nn.RMSNorm(2)(torch.tensor(x))",
        keras_gives=[0.7071, 0.7071],
        torch_gives=[1.0, 1.0],
        torch_mend=Mend("nn.RMSNorm(2)", "nn.RMSNorm(2, eps=1e-6)"),
    ),
)
