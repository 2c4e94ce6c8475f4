"""Dense layers and embeddings."""

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
    Difference(
        name="embedding-initial-weights",
        area="embedding",
        title="Initial rows of an embedding",
        keras="Embedding draws from U(±0.05): a standard deviation of 0.0289.",
        torch="Embedding draws from a normal distribution of standard deviation 1.",
        keras_place=Place(
            "keras/src/layers/core/embedding.py", "Embedding.__init__", 'embeddings_initializer="uniform"'
        ),
        torch_place=Place("torch/nn/modules/sparse.py", "Embedding.reset_parameters", "init.normal_(self.weight)"),
        seen="The standard deviation of the table: 0.0289 in Keras, 1 in torch, 35 times as much.",
        matters="yes: all that follows starts from activations of another size",
        keras_code="""
            table = keras.layers.Embedding(1000, 64)
            table.build()
            out = table.get_weights()[0].std()
            """,
        torch_code="""
            table = nn.Embedding(1000, 64)
            out = table.weight.std()
            """,
        keras_gives=0.02887,
        torch_gives=1.0,
        within=0.02,
        torch_mend=Mend(
            "table = nn.Embedding(1000, 64)\n",
            "table = nn.Embedding(1000, 64)\nnn.init.uniform_(table.weight, -0.05, 0.05)\n",
        ),
        after=0.02,
        inherent="The generators differ: the mend makes the distributions equal, not the numbers.",
    ),
    Difference(
        name="embedding-padding",
        area="embedding",
        title="The row of the padding",
        keras="mask_zero=True masks the positions of index 0 for the layers that follow; row 0 is drawn like any "
        "other.",
        torch="padding_idx=0 masks nothing; row 0 starts as zeros and gets no gradient.",
        keras_place=Place(
            "keras/src/layers/core/embedding.py", "Embedding.compute_mask", "return ops.not_equal(inputs, 0)"
        ),
        torch_place=Place(
            "torch/nn/modules/sparse.py",
            "Embedding._fill_padding_idx_with_zero",
            "self.weight[self.padding_idx].fill_(0)",
        ),
        seen="The mean over a sequence (5, 0, 0, 0) whose row 5 is 1 and row 0 is 0: 1 in Keras, where the padding "
        "is left out, 0.25 in torch, where it counts.",
        matters="yes, wherever sequences are padded",
        given="rows = np.zeros((6, 1)); rows[5] = 1; sequence = np.array([[5, 0, 0, 0]])",
        keras_code="""
            table = keras.layers.Embedding(6, 1, mask_zero=True)
            table.build()
            table.set_weights([rows])
            out = keras.layers.GlobalAveragePooling1D()(table(sequence))
            """,
        torch_code="""
            table = nn.Embedding(6, 1, padding_idx=0)
            table.load_state_dict({"weight": torch.tensor(rows)})
            tokens = torch.tensor(sequence)
            out = table(tokens).mean(1)
            """,
        keras_gives=[1.0],
        torch_gives=[0.25],
        torch_mend=Mend(
            "out = table(tokens).mean(1)",
            "mask = (tokens != 0).unsqueeze(-1)\nout = (table(tokens) * mask).sum(1) / mask.sum(1)",
        ),
    ),
)
