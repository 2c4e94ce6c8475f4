"""Embeddings."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
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
