"""Attention: sizes, masks, scale and what comes back."""

from differences.entry import Difference, Mend, Place

_MHA = "keras/src/layers/attention/multi_head_attention.py"
_ACTIVATION = "torch/nn/modules/activation.py"

ENTRIES = (
    Difference(
        name="attention-key-dim",
        area="attention",
        title="Size of a head",
        keras="MultiHeadAttention(num_heads, key_dim): key_dim is the size of one head.",
        torch="MultiheadAttention(embed_dim, num_heads): a head has embed_dim / num_heads.",
        keras_place=Place(_MHA, "MultiHeadAttention.build", "[self._num_heads, self._key_dim]"),
        torch_place=Place(_ACTIVATION, "MultiheadAttention.__init__", "self.head_dim = embed_dim // num_heads"),
        seen="Parameters for 8 features and 2 heads, key_dim=8: 568 in Keras, 288 in torch.",
        matters="yes: a model num_heads times as wide, and another scale of the scores",
        keras_code="""
            layer = keras.layers.MultiHeadAttention(2, key_dim=8)
            layer.build((None, 5, 8), (None, 5, 8))
            out = layer.count_params()
            """,
        torch_code="""
            layer = nn.MultiheadAttention(8, 2)
            out = sum(p.numel() for p in layer.parameters())
            """,
        keras_gives=568,
        torch_gives=288,
        keras_mend=Mend("key_dim=8", "key_dim=8 // 2"),
    ),
    Difference(
        name="attention-mask-sense",
        area="attention",
        title="What True means in a mask",
        keras="attention_mask: True takes part.",
        torch="MultiheadAttention's attn_mask and key_padding_mask: True is left out. "
        "F.scaled_dot_product_attention is the other way round, as Keras is.",
        keras_place=Place("keras/src/backend/tensorflow/nn.py", "_apply_masks", "tf.where( combined_mask, logits"),
        torch_place=Place("torch/nn/functional.py", "_canonical_mask", 'masked_fill_(mask, float("-inf"))'),
        seen="Two values 1 and 3, a mask (True, False): 1 in Keras, 3 in torch.",
        matters="yes: without an error the wrong positions are attended to",
        given="mask = np.array([[True, False]]); values = np.array([[[1.0], [3.0]]]); query = np.zeros((1, 1, 1))",
        keras_code="""
            layer = keras.layers.MultiHeadAttention(1, 1)
            layer.build((1, 1, 1), (1, 2, 1))
            layer.set_weights([np.full_like(w, w.ndim == 3) for w in layer.get_weights()])  # biases 0
            out = layer(query, values, attention_mask=mask[None])
            """,
        torch_code="""
            layer = nn.MultiheadAttention(1, 1, batch_first=True)
            nn.init.ones_(layer.in_proj_weight), nn.init.ones_(layer.out_proj.weight)
            query, values, mask = torch.tensor(query), torch.tensor(values), torch.tensor(mask)
            out = layer(query, values, values, attn_mask=mask)[0]
            """,
        keras_gives=[1.0],
        torch_gives=[3.0],
        torch_mend=Mend("attn_mask=mask", "attn_mask=~mask"),
    ),
    Difference(
        name="attention-masked-rows",
        area="attention",
        title="A query all of whose keys are masked",
        keras="The masked scores are a large negative number: the average of all values.",
        torch="They are minus infinity: MultiheadAttention gives NaN; F.scaled_dot_product_attention gives 0 since "
        "2.5.",
        keras_place=Place("keras/src/backend/tensorflow/nn.py", "_apply_masks", "_get_large_negative(logits.dtype)"),
        torch_place=Place("torch/nn/functional.py", "_canonical_mask", 'masked_fill_(mask, float("-inf"))'),
        seen="Two values 1 and 3, both masked: 2 in Keras, NaN in torch.",
        matters="yes, where a sequence is all padding: one NaN spoils the training",
        given="values = np.array([[[1.0], [3.0]]]); query = np.zeros((1, 1, 1))",
        keras_code="""
            layer = keras.layers.MultiHeadAttention(1, 1)
            layer.build((1, 1, 1), (1, 2, 1))
            layer.set_weights([np.full_like(w, w.ndim == 3) for w in layer.get_weights()])  # biases 0
            out = str(np.asarray(layer(query, values, attention_mask=np.zeros((1, 1, 2), bool))).item())
            """,
        torch_code="""
            layer = nn.MultiheadAttention(1, 1, batch_first=True)
            nn.init.ones_(layer.in_proj_weight), nn.init.ones_(layer.out_proj.weight)
            query, values, mask = torch.tensor(query), torch.tensor(values), torch.ones(1, 2, dtype=torch.bool)
            out = str(layer(query, values, values, attn_mask=mask)[0].item())
            """,
        keras_gives="2.0",
        torch_gives="nan",
        torch_mend=Mend("attn_mask=mask", "attn_mask=mask * -1e9"),
    ),
    Difference(
        name="attention-scale",
        area="attention",
        title="Scale of dot-product attention",
        keras="The layer Attention takes the scores as they are; MultiHeadAttention and "
        "keras.ops.dot_product_attention divide by √(size of a head).",
        torch="F.scaled_dot_product_attention divides by √(size).",
        keras_place=Place("keras/src/layers/attention/attention.py", "Attention.__init__", "use_scale=False"),
        torch_place=Place("torch/nn/functional.py", "", "math.sqrt(query.size(-1)) if scale is None else scale"),
        seen="Query (2, 0, 0, 0), keys (1, 0, 0, 0) and zeros with values 1 and 0: 0.8808 in Keras, 0.7311 in torch.",
        matters="yes: sharper attention, by √(size)",
        given="query = np.array([[[2.0, 0, 0, 0]]]); keys = np.array([[[1.0, 0, 0, 0], [0, 0, 0, 0]]]); values = keys",
        keras_code="out = keras.layers.Attention()([query, values, keys])[0, 0, 0]",
        torch_code="""
            query, keys, values = torch.tensor(query), torch.tensor(keys), torch.tensor(values)
            out = F.scaled_dot_product_attention(query, keys, values)[0, 0, 0]
            """,
        keras_gives=0.8808,
        torch_gives=0.7311,
        torch_mend=Mend("keys, values)[", "keys, values, scale=1.0)["),
    ),
    Difference(
        name="attention-initial-weights",
        since="Keras's limits are those since 3.15.0, see above",
        area="attention",
        title="Initial weights of multi-head attention",
        keras="Glorot uniform for each of query, key, value and output, since 3.15 by the sizes that a product "
        "sums over and gives; before, a kernel (features, heads, size) was taken for a convolution's, and its "
        "limits were smaller.",
        torch="Xavier uniform for query, key and value as one matrix (3·embed, embed): limits √2 times smaller; "
        "the output's weight as that of a Linear, U(±1/√embed).",
        keras_place=Place(
            "keras/src/layers/core/einsum_dense.py",
            "EinsumDense.build",
            "self._update_kernel_initializer(input_axes, output_axes)",
        ),
        torch_place=Place(_ACTIVATION, "MultiheadAttention._reset_parameters", "xavier_uniform_(self.in_proj_weight)"),
        seen="The largest query weight for 64 features and 4 heads of 16: 0.2165 in Keras (0.0685 before 3.15), "
        "0.1531 in torch; of the output 0.2165 and 0.125.",
        matters="seldom after many epochs; the runs part at the first step",
        keras_code="""
            layer = keras.layers.MultiHeadAttention(4, 16)
            layer.build((None, 5, 64), (None, 5, 64))
            query, output = layer.get_weights()[0], layer.get_weights()[6]
            out = [np.abs(query).max(), np.abs(output).max()]
            """,
        torch_code="""
            layer = nn.MultiheadAttention(64, 4)
            query, output = layer.in_proj_weight[:64], layer.out_proj.weight
            out = [query.abs().max(), output.abs().max()]
            """,
        keras_gives=[0.2165, 0.2164],
        torch_gives=[0.153, 0.125],
        within=0.01,
        torch_mend=Mend(
            "nn.MultiheadAttention(64, 4)\n",
            "nn.MultiheadAttention(64, 4)\n"
            "for weight in (*layer.in_proj_weight.chunk(3), layer.out_proj.weight):\n"
            "    nn.init.xavier_uniform_(weight)\n",
        ),
        after=0.01,
        inherent="The generators differ: the mend makes the distributions equal, not the numbers.",
    ),
    Difference(
        name="attention-axes",
        area="attention",
        title="Axes of attention",
        keras="(batch, time, features).",
        torch="MultiheadAttention, TransformerEncoder and its kin: (time, batch, features), unless batch_first=True.",
        keras_place=Place(_MHA, "MultiHeadAttention", "(B, T, dim)"),
        torch_place=Place(_ACTIVATION, "MultiheadAttention.__init__", "batch_first=False"),
        seen="No error: each position attends to the same position of the other samples. Two samples of one step, "
        "1 and 3: 1 and 3 in Keras, 2 and 2 in torch.",
        matters="yes: without an error, and samples leak into each other",
        given="x = np.array([[[1.0]], [[3.0]]])",
        keras_code="""
            layer = keras.layers.MultiHeadAttention(1, 1)
            layer.build((2, 1, 1), (2, 1, 1))
            weights = [np.ones_like(w) if w.ndim == 3 else np.zeros_like(w) for w in layer.get_weights()]
            layer.set_weights([np.zeros_like(w) if i < 4 else w for i, w in enumerate(weights)])
            out = layer(x, x)
            """,
        torch_code="""
            layer = nn.MultiheadAttention(1, 1)
            layer.in_proj_weight.data = torch.tensor([[0.0], [0.0], [1.0]])
            nn.init.ones_(layer.out_proj.weight)
            x = torch.tensor(x)
            out = layer(x, x, x)[0]
            """,
        keras_gives=[1.0, 3.0],
        torch_gives=[2.0, 2.0],
        torch_mend=Mend("nn.MultiheadAttention(1, 1)", "nn.MultiheadAttention(1, 1, batch_first=True)"),
    ),
    Difference(
        name="attention-returned-weights",
        area="attention",
        title="What multi-head attention returns",
        keras="The output; with return_attention_scores=True the scores of each head as well.",
        torch="A tuple of the output and the weights averaged over the heads.",
        keras_place=Place(_MHA, "MultiHeadAttention.call", "return_attention_scores=False"),
        torch_place=Place(_ACTIVATION, "MultiheadAttention.forward", "average_attn_weights: bool = True"),
        seen="The weights for 2 heads and 3 steps: shape (1, 2, 3, 3) in Keras, (1, 3, 3) in torch.",
        matters="only for who looks at the weights; need_weights=False is faster in torch",
        keras_code="""
            x = np.ones((1, 3, 4))
            output, weights = keras.layers.MultiHeadAttention(2, 2)(x, x, return_attention_scores=True)
            out = [*weights.shape]
            """,
        torch_code="""
            x = torch.ones(1, 3, 4)
            output, weights = nn.MultiheadAttention(4, 2, batch_first=True)(x, x, x)
            out = [*weights.shape]
            """,
        keras_gives=[1, 2, 3, 3],
        torch_gives=[1, 3, 3],
        torch_mend=Mend("(x, x, x)", "(x, x, x, average_attn_weights=False)"),
    ),
)
