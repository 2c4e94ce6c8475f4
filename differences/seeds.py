"""Random numbers."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="seeds-numbers",
        area="seeds",
        title="Random numbers of one seed",
        keras="On TensorFlow and JAX counter-based generators with a seed for each draw.",
        torch="Mersenne Twister on a CPU, Philox on a GPU.",
        keras_place=Place("keras/src/backend/tensorflow/random.py", "normal", "tf.random.stateless_normal("),
        torch_place=Place("torch/random.py", "manual_seed", "Sets the seed for generating random numbers"),
        seen="The first normal number of seed 0: 1.073 in Keras, 1.541 in torch (float32).",
        matters="yes, for who compares single runs: the same seed makes nothing the same",
        keras_code="""
            keras.utils.set_random_seed(0)
            out = keras.random.normal((1,), dtype="float32")
            """,
        torch_code="""
            torch.manual_seed(0)
            out = torch.randn(1, dtype=torch.float32)
            """,
        keras_gives=[1.073],
        torch_gives=[1.541],
        keras_mend=Mend(
            'keras.utils.set_random_seed(0)\nout = keras.random.normal((1,), dtype="float32")',
            "out = np.random.default_rng(0).standard_normal(1)",
        ),
        torch_mend=Mend(
            "torch.manual_seed(0)\nout = torch.randn(1, dtype=torch.float32)",
            "out = np.random.default_rng(0).standard_normal(1)",
        ),
        inherent="No setting makes them equal; draw with NumPy and give the numbers to both.",
    ),
    Difference(
        name="seeds-scope",
        area="seeds",
        title="What a seed seeds",
        keras="keras.utils.set_random_seed seeds Python, NumPy and the backend.",
        torch="torch.manual_seed seeds torch only; Lightning's seed_everything seeds all three.",
        keras_place=Place("keras/src/utils/rng_utils.py", "set_random_seed", "np.random.seed(seed)"),
        torch_place=Place(
            "torch/random.py", "manual_seed", "Sets the seed for generating random numbers on all devices"
        ),
        seen="NumPy's np.random.rand() repeats after Keras's call, not after torch's.",
        matters="where a data set or an augmentation draws with NumPy: runs do not repeat",
        given="np.random.seed(None)",
        keras_code="""
            first, second = [], []
            for numbers in (first, second):
                keras.utils.set_random_seed(1)
                numbers.append(np.random.rand())
            out = str(first == second)
            """,
        torch_code="""
            first, second = [], []
            for numbers in (first, second):
                torch.manual_seed(1)
                numbers.append(np.random.rand())
            out = str(first == second)
            """,
        keras_gives="True",
        torch_gives="False",
        torch_mend=Mend("    torch.manual_seed(1)", "    torch.manual_seed(1)\n    np.random.seed(1)"),
    ),
    Difference(
        name="seeds-per-layer",
        area="seeds",
        title="Who shares a generator",
        keras="Each layer that draws has a generator of its own: another layer's draws do not change its masks.",
        torch="All draw from one: one number drawn more, by a layer, a loader or a print, shifts all that follow.",
        keras_place=Place(
            "keras/src/layers/regularization/dropout.py", "Dropout.__init__", "backend.random.SeedGenerator(seed)"
        ),
        torch_place=Place("torch/nn/functional.py", "dropout", "_VF.dropout(input, p, training)"),
        seen="The mask of a dropout with and without a random number drawn before it: the same in Keras, another "
        "in torch.",
        matters="where one change is to be tried at a time",
        given="x = np.ones((1, 64))",
        keras_code="""
            masks = []
            for extra in (0, 1):
                layer = keras.layers.Dropout(0.5, seed=3)
                [keras.random.normal((1,)) for _ in range(extra)]
                masks.append(np.asarray(layer(x, training=True)).tolist())
            out = str(masks[0] == masks[1])
            """,
        torch_code="""
            masks = []
            for extra in (0, 1):
                torch.manual_seed(3)
                layer = nn.Dropout(0.5)
                [torch.randn(1) for _ in range(extra)]
                masks.append(layer(torch.tensor(x)).tolist())
            out = str(masks[0] == masks[1])
            """,
        keras_gives="True",
        torch_gives="False",
        torch_mend=Mend(
            "[torch.randn(1) for _ in range(extra)]",
            "with torch.random.fork_rng():\n        [torch.randn(1) for _ in range(extra)]",
        ),
    ),
)
