"""LSTM, GRU, SimpleRNN and what is around them."""

from differences.entry import Difference, Mend, Place

_RNN = "torch/nn/modules/rnn.py"
_GENERATORS = "The generators differ: the mend makes the distributions equal, not the numbers."

ENTRIES = (
    Difference(
        name="recurrent-initial-weights",
        area="recurrent",
        title="Initial weights of LSTM, GRU and simple RNN",
        keras="Input kernel Glorot uniform over all gates, recurrent kernel orthogonal.",
        torch="All weights U(±1/√units), whatever the size of the input.",
        keras_place=Place("keras/src/layers/rnn/lstm.py", "LSTMCell.__init__", 'recurrent_initializer="orthogonal"'),
        torch_place=Place(_RNN, "RNNBase.reset_parameters", "stdv = 1.0 / math.sqrt(self.hidden_size)"),
        seen="LSTM of 64 units on 64 inputs: the recurrent kernel's rows have a length of 1 in Keras, about 1.15 "
        "in torch; the largest input weight is 0.1369 in Keras, 0.125 in torch.",
        matters="yes, for long sequences: an orthogonal kernel keeps the state's length",
        keras_code="""
            layer = keras.layers.LSTM(64)
            layer.build((None, 5, 64))
            kernel, recurrent, bias = layer.get_weights()
            out = [np.abs(kernel).max(), np.linalg.norm(recurrent, axis=1).mean()]
            """,
        torch_code="""
            layer = nn.LSTM(64, 64)
            out = [layer.weight_ih_l0.abs().max(), layer.weight_hh_l0.norm(dim=0).mean()]
            """,
        keras_gives=[0.1369, 1.0],
        torch_gives=[0.125, 1.159],
        within=0.01,
        torch_mend=Mend(
            "64, 64)\n",
            "64, 64)\nnn.init.xavier_uniform_(layer.weight_ih_l0)\nnn.init.orthogonal_(layer.weight_hh_l0)\n",
        ),
        after=0.01,
        inherent=_GENERATORS,
    ),
    Difference(
        name="lstm-forget-bias",
        area="recurrent",
        title="Initial bias of LSTM's forget gate",
        keras="1 (unit_forget_bias), all other biases 0.",
        torch="All biases U(±1/√units), of which there are two for each gate.",
        keras_place=Place("keras/src/layers/rnn/lstm.py", "LSTMCell.__init__", "unit_forget_bias=True"),
        torch_place=Place(_RNN, "RNNBase.reset_parameters", "init.uniform_(weight, -stdv, stdv)"),
        seen="The mean of the forget gate's bias: 1 in Keras, about 0 in torch.",
        matters="yes, for long sequences: Keras starts by remembering",
        keras_code="""
            layer = keras.layers.LSTM(64)
            layer.build((None, 5, 8))
            bias = layer.get_weights()[2].reshape(4, 64)
            out = np.abs(np.round(bias.mean(1), 1))
            """,
        torch_code="""
            layer = nn.LSTM(8, 64)
            bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().reshape(4, 64)
            out = np.abs(np.round(bias.mean(1), 1))
            """,
        keras_gives=[0.0, 1.0, 0.0, 0.0],
        torch_gives=[0.0, 0.0, 0.0, 0.0],
        torch_mend=Mend(
            "8, 64)\n",
            '8, 64)\nlayer.load_state_dict({n: v * ("bias" not in n) for n, v in layer.state_dict().items()})\n'
            "nn.init.ones_(layer.bias_ih_l0.data[64:128])\n",
        ),
    ),
    Difference(
        name="recurrent-two-biases",
        area="recurrent",
        title="One bias or two",
        keras="LSTM and SimpleRNN add one bias; GRU has two with reset_after=True, its default.",
        torch="LSTM, GRU and RNN add bias_ih and bias_hh.",
        keras_place=Place("keras/src/layers/rnn/lstm.py", "LSTMCell.build", "shape=(self.units * 4,)"),
        torch_place=Place(_RNN, "RNNBase.__init__", "layer_params = (w_ih, w_hh, b_ih, b_hh)"),
        seen="Parameters of an LSTM of 4 units on 3 inputs: 128 in Keras, 144 in torch. A second bias left as it "
        "was drawn shifts every gate; both trained, the sum moves by twice the step.",
        matters="yes: with two biases the effective rate of the bias doubles",
        keras_code="""
            layer = keras.layers.LSTM(4)
            layer.build((None, 5, 3))
            out = layer.count_params()
            """,
        torch_code="""
            layer = nn.LSTM(3, 4)
            out = sum(p.numel() for p in layer.parameters() if p.requires_grad)
            """,
        keras_gives=128,
        torch_gives=144,
        torch_mend=Mend("3, 4)\n", "3, 4)\nnn.init.zeros_(layer.bias_hh_l0).requires_grad_(False)\n"),
    ),
    Difference(
        name="gru-gate-order",
        area="recurrent",
        title="Order of GRU's gates",
        keras="Update, reset, new (z, r, h), side by side in the columns. LSTM: input, forget, cell, output, as in "
        "torch.",
        torch="Reset, update, new (r, z, n), one below the other in the rows.",
        keras_place=Place(
            "keras/src/layers/rnn/gru.py", "GRUCell.call", "x_z, x_r, x_h = ops.split(matrix_x, 3, axis=-1)"
        ),
        torch_place=Place(_RNN, "GRU", "(W_ir|W_iz|W_in)"),
        seen="A kernel that is only transposed fits without an error. Kernel (1, -1, 2), no recurrence, input 1: "
        "0.2593 in Keras, 0.7048 in torch.",
        matters="yes: without an error",
        given="kernel = np.array([[1.0, -1.0, 2.0]]); x = np.ones((1, 1, 1))",
        keras_code="""
            layer = keras.layers.GRU(1)
            layer.build((1, 1, 1))
            layer.set_weights([kernel, np.zeros((1, 3)), np.zeros((2, 3))])
            out = layer(x)
            """,
        torch_code="""
            layer = nn.GRU(1, 1)
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
            layer.weight_ih_l0.data = torch.tensor(kernel.T)
            out = layer(torch.tensor(x))[0]
            """,
        keras_gives=[0.2593],
        torch_gives=[0.7048],
        torch_mend=Mend(
            "torch.tensor(kernel.T)", "torch.tensor(kernel.T[[1, 0, 2]])  # with several units: blocks of rows"
        ),
    ),
    Difference(
        name="gru-reset-after",
        area="recurrent",
        title="Where GRU resets",
        keras="After the product with the recurrent kernel (reset_after=True); reset_after=False is the form of "
        "the first paper.",
        torch="After it, always; reset_after=False cannot be said.",
        keras_place=Place("keras/src/layers/rnn/gru.py", "GRUCell.__init__", "reset_after=True"),
        torch_place=Place(_RNN, "GRU", "subtly differs from the original paper"),
        seen="The bias of GRU(4) has shape (2, 12) with reset_after, (12,) without. With two units whose states "
        "cross over the second step differs: (0.5769, 0.4572) with reset_after=False, (0.6078, 0.3641) in torch.",
        matters="only for models with reset_after=False, which torch's GRU cannot take",
        given="x = np.ones((1, 2, 1)); kernel = np.array([[0.0, 0.0, 2.0, -2.0, 1.0, 0.5]]); crossed = np.eye(2)[::-1]",
        keras_code="""
            layer = keras.layers.GRU(2, reset_after=False, use_bias=False)
            layer.build((1, 2, 1))
            layer.set_weights([kernel, np.hstack([np.zeros((2, 4)), crossed])])
            out = layer(x)
            """,
        torch_code="""
            layer = nn.GRU(1, 2, bias=False, batch_first=True)
            layer.weight_ih_l0.data = torch.tensor(kernel.T[[2, 3, 0, 1, 4, 5]])
            layer.weight_hh_l0.data = torch.tensor(np.vstack([np.zeros((4, 2)), crossed]))
            out = layer(torch.tensor(x))[0][:, -1]
            """,
        keras_gives=[0.5769, 0.4572],
        torch_gives=[0.6078, 0.3641],
        keras_mend=Mend("reset_after=False", "reset_after=True"),
        inherent="torch has no GRU that resets before; the mend is on Keras's side.",
    ),
    Difference(
        name="recurrent-output",
        area="recurrent",
        title="What a recurrent layer returns",
        keras="The last output, (batch, units); return_sequences=True gives all, return_state=True the state as well.",
        torch="All outputs and the state, a tuple.",
        keras_place=Place("keras/src/layers/rnn/rnn.py", "RNN.__init__", "return_sequences=False"),
        torch_place=Place(_RNN, "LSTM", "Outputs: output, (h_n, c_n)"),
        seen="The shape for 5 steps of 2 sequences and 4 units: (2, 4) in Keras, (2, 5, 4) in torch.",
        matters="an error of shapes, or a dense layer over all steps",
        keras_code="out = [*keras.layers.LSTM(4)(np.ones((2, 5, 3))).shape]",
        torch_code="""
            outputs, state = nn.LSTM(3, 4, batch_first=True)(torch.ones(2, 5, 3))
            out = [*outputs.shape]
            """,
        keras_gives=[2, 4],
        torch_gives=[2, 5, 4],
        torch_mend=Mend("outputs.shape", "outputs[:, -1].shape"),
    ),
    Difference(
        name="recurrent-axes",
        area="recurrent",
        title="Axes of a sequence",
        keras="(batch, time, features).",
        torch="(time, batch, features), unless batch_first=True.",
        keras_place=Place("keras/src/layers/rnn/rnn.py", "RNN.call", "timesteps = sequences.shape[1]"),
        torch_place=Place(_RNN, "RNNBase.__init__", "batch_first: bool = False"),
        seen="No error: the sequences of a batch are read as one. Sums of (1, 2) and (10, 20) by a linear "
        "recurrence end at 3 and 30 in Keras, at 11 and 22 in torch.",
        matters="yes: without an error, and samples leak into each other",
        given="x = np.array([[[1.0], [2.0]], [[10.0], [20.0]]])",
        keras_code="""
            layer = keras.layers.SimpleRNN(1, activation="linear", return_sequences=True)
            layer.build((2, 2, 1))
            layer.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)])
            out = layer(x)
            """,
        torch_code="""
            layer = nn.RNN(1, 1, nonlinearity="relu")
            for name, parameter in layer.named_parameters():
                nn.init.constant_(parameter, float("weight" in name))
            out = layer(torch.tensor(x))[0]
            """,
        keras_gives=[1.0, 3.0, 10.0, 30.0],
        torch_gives=[1.0, 2.0, 11.0, 22.0],
        torch_mend=Mend('nonlinearity="relu"', 'nonlinearity="relu", batch_first=True'),
    ),
    Difference(
        name="recurrent-padding",
        area="recurrent",
        title="Padded steps",
        keras="With a mask, of Embedding(mask_zero=True) or Masking, the state stays as it was at masked steps.",
        torch="Padded steps are read like any others, unless the batch is packed by pack_padded_sequence.",
        keras_place=Place("keras/src/backend/tensorflow/rnn.py", "rnn", "tf.where(tiled_mask_t, output, prev_output)"),
        torch_place=Place("torch/nn/utils/rnn.py", "pack_padded_sequence", "_VF._pack_padded_sequence("),
        seen="A running sum over (1, 2, 0) with a bias of 1 ends at 5 in Keras, which skips the padding, at 6 in "
        "torch.",
        matters="yes, wherever sequences are padded at the end",
        given="x = np.array([[[1.0], [2.0], [0.0]]])",
        keras_code="""
            layer = keras.layers.SimpleRNN(1, activation="linear")
            layer.build((1, 3, 1))
            layer.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.ones(1)])
            out = layer(keras.layers.Masking(0.0)(x))
            """,
        torch_code="""
            layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=True)
            for name, parameter in layer.named_parameters():
                nn.init.constant_(parameter, float(name != "bias_hh_l0"))
            x, lengths = torch.tensor(x), [2]
            out = layer(x)[1]
            """,
        keras_gives=[5.0],
        torch_gives=[6.0],
        torch_mend=Mend("layer(x)[1]", "layer(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1]"),
    ),
    Difference(
        name="recurrent-bidirectional-last",
        area="recurrent",
        title="Last output of a bidirectional layer",
        keras="Bidirectional(…) without return_sequences joins both last states: the backward one has read all.",
        torch="output[:, -1] has the backward half after a single step, the last; its last state is in h_n or "
        "output[:, 0].",
        keras_place=Place(
            "keras/src/layers/rnn/bidirectional.py", "Bidirectional.__init__", 'config["config"]["go_backwards"] = True'
        ),
        torch_place=Place(_RNN, "LSTM", "containing the final hidden state"),
        seen="Running sums over (1, 2, 4): forward 7, backward 7 in Keras; forward 7, backward 4 in torch.",
        matters="yes: half of the features have seen one step",
        given="x = np.array([[[1.0], [2.0], [4.0]]])",
        keras_code="""
            layer = keras.layers.Bidirectional(keras.layers.SimpleRNN(1, activation="linear"))
            layer.build((1, 3, 1))
            layer.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)] * 2)
            out = layer(x)
            """,
        torch_code="""
            layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=True, bidirectional=True)
            for name, parameter in layer.named_parameters():
                nn.init.constant_(parameter, float("weight" in name))
            output, h_n = layer(torch.tensor(x))
            out = output[:, -1]
            """,
        keras_gives=[7.0, 7.0],
        torch_gives=[7.0, 4.0],
        torch_mend=Mend("output[:, -1]", "torch.cat([h_n[0], h_n[1]], dim=-1)"),
    ),
    Difference(
        name="recurrent-dropout",
        area="recurrent",
        title="dropout of a recurrent layer",
        keras="LSTM(dropout=…) drops inputs, with one mask for all steps of a sequence; recurrent_dropout drops "
        "the state.",
        torch="LSTM(dropout=…) drops the outputs between stacked layers, a new mask each step; with one layer it "
        "warns and does nothing.",
        keras_place=Place(
            "keras/src/layers/rnn/dropout_rnn_cell.py", "DropoutRNNCell.get_dropout_mask", "self._dropout_mask is None"
        ),
        torch_place=Place(_RNN, "RNNBase.__init__", "dropout option adds dropout after all but last"),
        seen="One layer, dropout 0.5, the same input twice in training mode: two outputs in Keras, one in torch.",
        matters="yes: a port of one layer has no dropout at all",
        given="x = np.ones((1, 3, 8))",
        keras_code="""
            layer = keras.layers.LSTM(4, dropout=0.5)
            first, second = layer(x, training=True), layer(x, training=True)
            out = float(np.abs(first - second).max() > 1e-6)
            """,
        torch_code="""
            layer, x = nn.LSTM(8, 4, batch_first=True, dropout=0.5), torch.tensor(x)
            drop = nn.Identity()
            first, second = layer(drop(x))[0], layer(drop(x))[0]
            out = float((first - second).abs().max() > 1e-6)
            """,
        keras_gives=1.0,
        torch_gives=0.0,
        torch_mend=Mend(
            "drop = nn.Identity()", "drop = lambda x: x * F.dropout(torch.ones_like(x[:, :1]), 0.5)  # in training mode"
        ),
        inherent="The masks are other random numbers, see `seeds-numbers`.",
    ),
)
