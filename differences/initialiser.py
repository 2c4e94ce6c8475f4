"""Initialisers by name."""

from differences.entry import Difference, Mend, Place

_RANDOM = "keras/src/initializers/random_initializers.py"
_INIT = "torch/nn/init.py"
_GENERATORS = "The generators differ: the mend makes the distributions equal, not the numbers."

ENTRIES = (
    Difference(
        name="normal-initialisers-truncated",
        area="initialiser",
        title="HeNormal, GlorotNormal and LecunNormal are truncated",
        keras="Drawn from a normal distribution cut at two standard deviations, widened by 1/0.8796 to keep the "
        "variance.",
        torch="kaiming_normal_ and xavier_normal_ draw from the whole normal distribution.",
        keras_place=Place(_RANDOM, "VarianceScaling.__call__", "stddev = math.sqrt(scale) / 0.87962566103423978"),
        torch_place=Place(_INIT, "kaiming_normal_", "tensor.normal_(0, std, generator=generator)"),
        seen="The largest of 40,000 He weights in standard deviations: 2.27 in Keras, above 4 in torch.",
        matters="little: the variance is the same",
        keras_code="""
            weights = np.asarray(keras.initializers.HeNormal()((200, 200)))
            out = np.abs(weights).max() * 10  # in standard deviations of √(2/200) = 0.1
            """,
        torch_code="""
            weights = torch.empty(200, 200)
            nn.init.kaiming_normal_(weights)
            out = weights.abs().max() * 10
            """,
        keras_gives=2.274,
        torch_gives=4.286,
        within=0.05,
        torch_mend=Mend(
            "nn.init.kaiming_normal_(weights)",
            "std = (2 / 200) ** 0.5 / 0.8796256610342398\n"
            "nn.init.trunc_normal_(weights, std=std, a=-2 * std, b=2 * std)",
        ),
        after=0.01,
        inherent=_GENERATORS,
    ),
    Difference(
        name="truncated-normal-limits",
        area="initialiser",
        title="Where a truncated normal distribution is cut",
        keras="TruncatedNormal(stddev=0.05) is cut at two standard deviations: 0.1.",
        torch="trunc_normal_(std=1, a=-2, b=2) is cut at a and b as numbers: with std=0.05 alone it is not cut at all.",
        keras_place=Place(
            "keras/src/backend/tensorflow/random.py", "truncated_normal", "tf.random.stateless_truncated_normal("
        ),
        torch_place=Place(_INIT, "trunc_normal_", "a: float = -2.0, b: float = 2.0"),
        seen="The largest of 40,000 weights with a standard deviation of 0.05: 0.1 in Keras, above 0.2 in torch.",
        matters="little",
        keras_code="out = np.abs(keras.initializers.TruncatedNormal(stddev=0.05)((200, 200))).max()",
        torch_code="""
            weights = torch.empty(200, 200)
            nn.init.trunc_normal_(weights, std=0.05)
            out = weights.abs().max()
            """,
        keras_gives=0.1,
        torch_gives=0.2143,
        within=0.05,
        torch_mend=Mend("std=0.05", "std=0.05, a=-2 * 0.05, b=2 * 0.05"),
        after=0.01,
        inherent=_GENERATORS,
    ),
    Difference(
        name="random-initialisers-defaults",
        area="initialiser",
        title="Defaults of RandomNormal and RandomUniform",
        keras="RandomNormal: standard deviation 0.05; RandomUniform: ±0.05.",
        torch="normal_: standard deviation 1; uniform_: 0 to 1, no negative number.",
        keras_place=Place(_RANDOM, "RandomNormal.__init__", "stddev=0.05"),
        torch_place=Place(_INIT, "normal_", "std: float = 1.0"),
        seen="Standard deviations: 0.05 and 0.02887 in Keras, 1 and 0.2887 in torch; the mean of uniform_ is 0.5.",
        matters="yes: 20 times as large, and uniform_ is not centred",
        keras_code="""
            normal = np.asarray(keras.initializers.RandomNormal()((400, 400)))
            uniform = np.asarray(keras.initializers.RandomUniform()((400, 400)))
            out = [normal.std(), uniform.std(), uniform.max()]
            """,
        torch_code="""
            normal, uniform = torch.empty(400, 400), torch.empty(400, 400)
            nn.init.normal_(normal), nn.init.uniform_(uniform)
            out = [normal.std(), uniform.std(), uniform.max()]
            """,
        keras_gives=[0.05, 0.02887, 0.05],
        torch_gives=[1.0, 0.2887, 1.0],
        within=0.01,
        torch_mend=Mend(
            "nn.init.normal_(normal), nn.init.uniform_(uniform)",
            "nn.init.normal_(normal, std=0.05)\nnn.init.uniform_(uniform, -0.05, 0.05)",
        ),
        after=0.01,
        inherent=_GENERATORS,
    ),
    Difference(
        name="he-uniform-gain",
        area="initialiser",
        title="He uniform and the a of kaiming_uniform_",
        keras="HeUniform: ±√(6/in).",
        torch="kaiming_uniform_(w) is the same; with a=√5, which Linear and convolutions use, it is ±1/√in.",
        keras_place=Place(_RANDOM, "HeUniform.__init__", 'scale=2.0, mode="fan_in", distribution="uniform"'),
        torch_place=Place(
            "torch/nn/modules/linear.py",
            "Linear.reset_parameters",
            "init.kaiming_uniform_(self.weight, a=math.sqrt(5))",
        ),
        seen="The limit for 100 inputs: 0.2449 in Keras, 0.1 in torch's layers.",
        matters="yes, in deep networks of ReLUs: activations shrink by √6 a layer",
        keras_code="out = np.abs(keras.initializers.HeUniform()((100, 400))).max()",
        torch_code="""
            weights = torch.empty(400, 100)
            nn.init.kaiming_uniform_(weights, a=5**0.5)
            out = weights.abs().max()
            """,
        keras_gives=0.2449,
        torch_gives=0.1,
        torch_mend=Mend("(weights, a=5**0.5)", "(weights)"),
        after=1e-3,
        inherent=_GENERATORS,
    ),
    Difference(
        name="initialiser-object-shared",
        area="initialiser",
        title="One initialiser for two layers",
        keras="An initialiser object gives the same numbers each time it is called, with a seed or without one.",
        torch="nn.init.* draws new numbers each time.",
        keras_place=Place(_RANDOM, "RandomInitializer.__init__", "seed = random.make_default_seed()"),
        torch_place=Place(_INIT, "_no_grad_uniform_", "tensor.uniform_(a, b, generator=generator)"),
        seen="Two weights of one shape from one object: the largest difference is 0 in Keras. By its name, "
        '"glorot_uniform", each layer gets an object of its own.',
        matters="yes: layers of one shape start as copies of each other",
        keras_code="""
            draw = keras.initializers.GlorotUniform()
            first, second = draw((4, 4)), draw((4, 4))
            out = str(bool(np.abs(first - second).max() == 0))
            """,
        torch_code="""
            first, second = nn.init.xavier_uniform_(torch.empty(4, 4)), nn.init.xavier_uniform_(torch.empty(4, 4))
            out = str(bool((first - second).abs().max() == 0))
            """,
        keras_gives="True",
        torch_gives="False",
        keras_mend=Mend("GlorotUniform()", "GlorotUniform(seed=keras.random.SeedGenerator(0))"),
    ),
)
