"""Dropout."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="dropout-rate-default",
        area="dropout",
        title="Default rate of dropout",
        keras="None: Dropout(rate) has to be told.",
        torch="Dropout() drops half.",
        keras_place=Place("keras/src/layers/regularization/dropout.py", "Dropout.__init__", "def __init__(self, rate"),
        torch_place=Place("torch/nn/modules/dropout.py", "_DropoutNd.__init__", "p: float = 0.5"),
        seen="Dropout() raises TypeError in Keras. In torch what passes is twice as large: 1/(1 - 0.5).",
        matters="yes, where the rate was forgotten",
        given="x = np.ones((1, 100))",
        keras_code="""
            layer = keras.layers.Dropout()
            out = np.asarray(layer(x, training=True)).max()
            """,
        torch_code="""
            layer = nn.Dropout()
            out = layer(torch.tensor(x)).max()
            """,
        keras_gives="TypeError",
        torch_gives=2.0,
        keras_mend=Mend("Dropout()", "Dropout(0.5)"),
    ),
    Difference(
        name="dropout-spatial-axes",
        area="dropout",
        title="Dropout of whole channels",
        keras="SpatialDropout1D and 2D drop along the last axis, the channels.",
        torch="Dropout1d and 2d drop along axis 1: of a batch with channels last they drop whole rows or steps.",
        keras_place=Place(
            "keras/src/layers/regularization/spatial_dropout.py",
            "SpatialDropout1D._get_noise_shape",
            "(input_shape[0], 1, input_shape[2])",
        ),
        torch_place=Place("torch/nn/modules/dropout.py", "Dropout1d", "(N, C, L)"),
        seen="A (1, 50, 64) sequence of ones after a rate of 0.5: in Keras the values differ within a step and not "
        "from step to step; in torch the other way round.",
        matters="yes, for sequences (batch, time, features)",
        given="x = np.ones((1, 50, 64))",
        keras_code="""
            dropped = np.asarray(keras.layers.SpatialDropout1D(0.5)(x, training=True))
            out = [str(bool(dropped.std(1).max() == 0)), str(bool(dropped.std(2).max() == 0))]
            """,
        torch_code="""
            dropped = nn.Dropout1d(0.5)(torch.tensor(x)).numpy()
            out = [str(bool(dropped.std(1).max() == 0)), str(bool(dropped.std(2).max() == 0))]
            """,
        keras_gives=["True", "False"],
        torch_gives=["False", "True"],
        torch_mend=Mend("(torch.tensor(x))", "(torch.tensor(x).transpose(1, 2)).transpose(1, 2)"),
        inherent="The masks are other random numbers, see `seeds-numbers`.",
    ),
)
