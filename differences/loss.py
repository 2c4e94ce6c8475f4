"""Losses: what goes in, how it is reduced, where it is clipped."""

from differences.entry import Difference, Mend, Place

_LOSSES = "keras/src/losses/losses.py"
_REDUCE = Place("keras/src/losses/loss.py", "reduce_values", "ops.prod(ops.convert_to_tensor(ops.shape(values)")
_FUNCTIONAL = "torch/nn/functional.py"
_MODULES = "torch/nn/modules/loss.py"

ENTRIES = (
    Difference(
        name="cross-entropy-input",
        area="loss",
        title="What cross-entropy takes",
        keras="CategoricalCrossentropy and SparseCategoricalCrossentropy take probabilities, unless from_logits=True.",
        torch="cross_entropy takes logits and applies log-softmax itself.",
        keras_place=Place(_LOSSES, "CategoricalCrossentropy.__init__", "from_logits=False"),
        torch_place=Place(_FUNCTIONAL, "cross_entropy", "Predicted unnormalized logits"),
        seen="After a softmax torch's loss of ten classes never falls below 1.4612 (-ln(e/(e + 9))), and starts "
        "near 2.303 as it should: per sample (0, 2.303) in Keras, (1.461, 2.303) in torch, for one that is right "
        "and sure and one that is not.",
        matters="yes: the commonest fault of a port; it still learns, slowly and badly",
        given="logits = np.zeros((2, 10)); logits[0, 0] = 20; labels = np.array([0, 0])",
        keras_code="""
            probabilities = keras.ops.softmax(logits)
            out = keras.losses.SparseCategoricalCrossentropy(reduction="none")(labels, probabilities)
            """,
        torch_code="""
            logits, labels = torch.tensor(logits), torch.tensor(labels)
            output = logits.softmax(-1)
            out = F.cross_entropy(output, labels, reduction="none")
            """,
        keras_gives=[1.855e-08, 2.303],
        torch_gives=[1.461, 2.303],
        torch_mend=Mend("output = logits.softmax(-1)", "output = logits"),
    ),
    Difference(
        name="cross-entropy-clip",
        area="loss",
        title="Probabilities are clipped before the logarithm",
        keras="The loss of probabilities clips them to [1e-7, 1 - 1e-7]. On TensorFlow, where the output comes "
        "straight from a softmax, Keras finds the logits behind it and clips nothing; on torch and JAX it clips.",
        torch="cross_entropy of logits clips nothing.",
        keras_place=Place(
            "keras/src/backend/jax/nn.py",
            "categorical_crossentropy",
            "jnp.clip(output, backend.epsilon(), 1.0 - backend.epsilon())",
        ),
        torch_place=Place(_FUNCTIONAL, "cross_entropy", "torch._C._nn.cross_entropy_loss("),
        seen="A sample that the network is sure and wrong of, logits (0, 30): 16.12 in Keras (-ln 1e-7) on torch "
        "and JAX, with a gradient of 0; 30 in torch, and in Keras on TensorFlow.",
        matters="on Keras's torch and JAX backends: the worst samples teach nothing",
        backend="jax",
        given="logits = np.array([[0.0, 30.0]]); target = np.array([[1.0, 0.0]])",
        keras_code="""
            probabilities = keras.ops.softmax(logits)
            out = keras.losses.CategoricalCrossentropy()(target, probabilities)
            """,
        torch_code="out = F.cross_entropy(torch.tensor(logits), torch.tensor(target))",
        keras_gives=16.12,
        torch_gives=30.0,
        keras_mend=Mend(
            "CategoricalCrossentropy()(target, probabilities)",
            "CategoricalCrossentropy(from_logits=True)(target, logits)",
        ),
    ),
    Difference(
        name="cross-entropy-rescaled",
        area="loss",
        title="Probabilities that do not sum to 1",
        keras="categorical_crossentropy divides probabilities by their sum; the sparse one does so by a "
        "log-softmax of the logs.",
        torch="nll_loss takes the logarithms as they are.",
        keras_place=Place(
            "keras/src/backend/tensorflow/nn.py",
            "categorical_crossentropy",
            "output = output / tf.reduce_sum(output, axis, keepdims=True)",
        ),
        torch_place=Place(_FUNCTIONAL, "nll_loss", "torch._C._nn.nll_loss_nd("),
        seen="Two sigmoids (0.5, 0.9) with the first class right: 1.030 in Keras (-ln(0.5/1.4)), 0.6931 in torch.",
        matters="where a layer of sigmoids is trained with cross-entropy",
        given="scores = np.array([[0.5, 0.9]]); target = np.array([[1.0, 0.0]])",
        keras_code="out = keras.losses.CategoricalCrossentropy()(target, scores)",
        torch_code="""
            scores = torch.tensor(scores)
            out = F.nll_loss(scores.log(), torch.tensor([0]))
            """,
        keras_gives=1.03,
        torch_gives=0.6931,
        torch_mend=Mend("scores.log()", "(scores / scores.sum(-1, keepdim=True)).log()"),
    ),
    Difference(
        name="class-weights-mean",
        area="loss",
        title="Mean of a weighted loss",
        keras="class_weight and sample_weight multiply the losses; the sum is divided by the number of samples.",
        torch="cross_entropy(weight=…) divides by the sum of the samples' weights.",
        keras_place=_REDUCE,
        torch_place=Place(_MODULES, "CrossEntropyLoss", "w_{y_n} \\cdot \\mathbb{1}"),
        seen="Losses 1 and 3 with weights 1 and 9: 14 in Keras, 2.8 in torch. Batch by batch the factor changes.",
        matters="yes: another rate in every batch",
        given="logits = np.log([[1.0, np.e - 1], [np.e**3 - 1, 1.0]])  # losses 1 and 3\n"
        "labels, weights = np.array([0, 1]), np.array([1.0, 9.0])",
        keras_code="""
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            out = loss(labels, logits, sample_weight=weights[labels])
            """,
        torch_code="""
            logits, labels, weights = torch.tensor(logits), torch.tensor(labels), torch.tensor(weights)
            out = F.cross_entropy(logits, labels, weight=weights)
            """,
        keras_gives=14.0,
        torch_gives=2.8,
        torch_mend=Mend(
            "F.cross_entropy(logits, labels, weight=weights)",
            'F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)',
        ),
    ),
    Difference(
        name="loss-ignored-class",
        area="loss",
        title="A label to ignore",
        keras="ignore_class=None: every label counts.",
        torch="ignore_index=-100: such labels are left out, also of the mean.",
        keras_place=Place(_LOSSES, "SparseCategoricalCrossentropy.__init__", "ignore_class=None"),
        torch_place=Place(_MODULES, "CrossEntropyLoss.__init__", "ignore_index: int = -100"),
        seen="Labels padded by -100: an error in Keras on TensorFlow and a CPU, the mean over the others in torch.",
        matters="where labels are padded",
        given="logits = np.array([[0.0, 1.0], [0.0, 1.0]]); labels = np.array([0, -100])",
        keras_code="""
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            out = loss(labels, logits)
            """,
        torch_code="out = F.cross_entropy(torch.tensor(logits), torch.tensor(labels))",
        keras_gives="InvalidArgumentError",
        torch_gives=1.313,
        keras_mend=Mend("from_logits=True", "from_logits=True, ignore_class=-100"),
    ),
    Difference(
        name="loss-sum-reduction",
        area="loss",
        title='reduction="sum" of a regression loss',
        keras="The sum over the batch of each sample's mean over its outputs.",
        torch="The sum over everything.",
        keras_place=Place(_LOSSES, "mean_squared_error", "ops.mean(ops.square(y_true - y_pred), axis=-1)"),
        torch_place=Place(_FUNCTIONAL, "mse_loss", "_Reduction.get_enum(reduction)"),
        seen="Errors of 1 in 2 samples of 4 outputs: 2 in Keras, 8 in torch. With the mean both give 1.",
        matters="yes: another rate, by the number of outputs",
        given="target = np.zeros((2, 4)); output = np.ones((2, 4))",
        keras_code='out = keras.losses.MeanSquaredError(reduction="sum")(target, output)',
        torch_code="""
            target, output = torch.tensor(target), torch.tensor(output)
            out = F.mse_loss(output, target, reduction="sum")
            """,
        keras_gives=2.0,
        torch_gives=8.0,
        torch_mend=Mend('reduction="sum")', 'reduction="sum") / output.shape[-1]'),
    ),
    Difference(
        name="loss-broadcast",
        area="loss",
        title="Targets (n,) for outputs (n, 1)",
        keras="Keras takes the target as (n, 1).",
        torch="mse_loss, l1_loss and huber_loss broadcast to (n, n), with a warning: every output is compared with "
        "every target.",
        keras_place=Place(_LOSSES, "mean_squared_error", "squeeze_or_expand_to_same_rank(y_true, y_pred)"),
        torch_place=Place(
            _FUNCTIONAL, "mse_loss", "Using a target size ({target.size()}) that is different to the input size"
        ),
        seen="Outputs equal to their targets 0 and 2: 0 in Keras, 2 in torch. The training ends at the mean of all "
        "targets.",
        matters="yes: nothing is learnt but the mean",
        given="target = np.array([0.0, 2.0]); output = np.array([[0.0], [2.0]])",
        keras_code="out = keras.losses.MeanSquaredError()(target, output)",
        torch_code="""
            target, output = torch.tensor(target), torch.tensor(output)
            out = F.mse_loss(output, target)
            """,
        keras_gives=0.0,
        torch_gives=2.0,
        torch_mend=Mend("F.mse_loss(output, target)", "F.mse_loss(output, target.unsqueeze(-1))"),
    ),
    Difference(
        name="binary-cross-entropy-clip",
        area="loss",
        title="Binary cross-entropy of 0 and 1",
        keras="Probabilities are clipped to [1e-7, 1 - 1e-7]: a loss of at most 16.12.",
        torch="binary_cross_entropy clamps the logarithm at -100.",
        keras_place=Place(
            "keras/src/backend/tensorflow/nn.py", "binary_crossentropy", "backend.epsilon(), 1.0 - backend.epsilon()"
        ),
        torch_place=Place(_MODULES, "BCELoss", "BCELoss clamps its log function outputs"),
        seen="Probability 0 of what is true: 16.12 in Keras, 100 in torch.",
        matters="for samples that the network is sure and wrong of",
        given="target = np.array([[1.0]]); probability = np.array([[0.0]])",
        keras_code="out = keras.losses.BinaryCrossentropy()(target, probability)",
        torch_code="""
            target, probability = torch.tensor(target), torch.tensor(probability)
            out = F.binary_cross_entropy(probability, target)
            """,
        keras_gives=16.12,
        torch_gives=100.0,
        torch_mend=Mend("(probability, target)", "(probability.clamp(1e-7, 1 - 1e-7), target)"),
    ),
    Difference(
        name="loss-argument-order",
        area="loss",
        title="Order of a loss's arguments",
        keras="loss(y_true, y_pred).",
        torch="loss(input, target).",
        keras_place=Place(_LOSSES, "binary_crossentropy", "y_true, y_pred, from_logits=False"),
        torch_place=Place(_FUNCTIONAL, "binary_cross_entropy", "input: Tensor, target: Tensor"),
        seen="Exchanged, mean squared error stays as it is; binary cross-entropy of an output 0.9 and a target 0.6 "
        "is 0.9843 one way, 0.5514 the other.",
        matters="yes, where the loss is not symmetric",
        given="y_true = np.array([[0.6]]); y_pred = np.array([[0.9]])",
        keras_code="out = keras.losses.BinaryCrossentropy()(y_true, y_pred)",
        torch_code="""
            y_true, y_pred = torch.tensor(y_true), torch.tensor(y_pred)
            out = F.binary_cross_entropy(y_true, y_pred)
            """,
        keras_gives=0.9843,
        torch_gives=0.5514,
        torch_mend=Mend("F.binary_cross_entropy(y_true, y_pred)", "F.binary_cross_entropy(y_pred, y_true)"),
    ),
    Difference(
        name="kl-divergence",
        area="loss",
        title="Kullback-Leibler divergence",
        keras="KLDivergence(p, q): probabilities both; the sum over classes, the mean over the batch.",
        torch="kl_div(log q, p): the first argument as logarithm; the default mean divides by the number of "
        "classes, too.",
        keras_place=Place(_LOSSES, "kl_divergence", "ops.sum(y_true * ops.log(y_true / y_pred), axis=-1)"),
        torch_place=Place(_MODULES, "KLDivLoss", r'use :attr:`reduction`\ `= "batchmean"`'),
        seen="p = (0.5, 0.5), q = (0.25, 0.75): 0.1438 in Keras, 0.07192 in torch with log q; with q as it is -0.5966.",
        matters="yes: 1/classes of the gradient",
        given="p = np.array([[0.5, 0.5]]); q = np.array([[0.25, 0.75]])",
        keras_code="out = keras.losses.KLDivergence()(p, q)",
        torch_code="""
            p, q = torch.tensor(p), torch.tensor(q)
            out = F.kl_div(q.log(), p)
            """,
        keras_gives=0.1438,
        torch_gives=0.07192,
        torch_mend=Mend("F.kl_div(q.log(), p)", 'F.kl_div(q.log(), p, reduction="batchmean")'),
    ),
    Difference(
        name="cosine-loss",
        area="loss",
        title="Cosine similarity as a loss",
        keras="CosineSimilarity: minus the cosine, -1 at best.",
        torch="CosineEmbeddingLoss: one minus the cosine, 0 at best.",
        keras_place=Place(_LOSSES, "cosine_similarity", "return -ops.sum(y_true * y_pred, axis=axis)"),
        torch_place=Place(_MODULES, "CosineEmbeddingLoss", "1 - \\cos(x_1, x_2)"),
        seen="The same vector twice: -1 in Keras, 0 in torch. The gradients agree.",
        matters="only for who reads the number",
        given="a = np.array([[3.0, 4.0]])",
        keras_code="out = keras.losses.CosineSimilarity()(a, a)",
        torch_code="""
            a = torch.tensor(a)
            out = F.cosine_embedding_loss(a, a, torch.ones(1))
            """,
        keras_gives=-1.0,
        torch_gives=0.0,
        torch_mend=Mend("F.cosine_embedding_loss(a, a, torch.ones(1))", "-F.cosine_similarity(a, a).mean()"),
    ),
    Difference(
        name="categorical-hinge",
        area="loss",
        title="Hinge loss of several classes",
        keras="CategoricalHinge: only the wrong class with the highest score counts, and at least 0.",
        torch="MultiMarginLoss: the sum over all wrong classes, divided by the number of classes.",
        keras_place=Place(_LOSSES, "categorical_hinge", "neg = ops.max((1.0 - y_true) * y_pred, axis=-1)"),
        torch_place=Place(_MODULES, "MultiMarginLoss", "\\sum_i \\max(0, \\text{margin} - x[y] + x[i])^p"),
        seen="Scores (1, 1, 1), the first right: 1 in Keras, 0.6667 in torch.",
        matters="yes: another gradient",
        given="scores = np.array([[1.0, 1.0, 1.0]]); target = np.array([[1.0, 0.0, 0.0]])",
        keras_code="out = keras.losses.CategoricalHinge()(target, scores)",
        torch_code="""
            scores, target = torch.tensor(scores), torch.tensor(target)
            out = F.multi_margin_loss(scores, target.argmax(-1))
            """,
        keras_gives=1.0,
        torch_gives=0.6667,
        torch_mend=Mend(
            "F.multi_margin_loss(scores, target.argmax(-1))",
            "F.relu(((1 - target) * scores).amax(-1) - (target * scores).sum(-1) + 1).mean()",
        ),
    ),
    Difference(
        name="poisson-input",
        area="loss",
        title="What the Poisson loss takes",
        keras="Poisson: the rate itself, with 1e-7 added before the logarithm.",
        torch="PoissonNLLLoss: the logarithm of the rate (log_input=True).",
        keras_place=Place(_LOSSES, "poisson", "y_pred - y_true * ops.log(y_pred + epsilon)"),
        torch_place=Place(_MODULES, "PoissonNLLLoss.__init__", "log_input: bool = True"),
        seen="Output 2, target 2: 0.6137 in Keras, 3.389 in torch (e² - 4).",
        matters="yes: the network learns the logarithm",
        given="target = np.array([[2.0]]); output = np.array([[2.0]])",
        keras_code="out = keras.losses.Poisson()(target, output)",
        torch_code="""
            target, output = torch.tensor(target), torch.tensor(output)
            out = F.poisson_nll_loss(output, target)
            """,
        keras_gives=0.6137,
        torch_gives=3.389,
        torch_mend=Mend("(output, target)", "(output, target, log_input=False, eps=1e-7)"),
    ),
    Difference(
        name="ctc-mean",
        since="Keras 3.0.2 is the first with this loss",
        area="loss",
        title="Mean of the CTC loss",
        keras="CTC: the mean over the batch of each sequence's loss.",
        torch="CTCLoss divides each sequence's loss by the length of its target first.",
        keras_place=Place(_LOSSES, "ctc", "ops.ctc_loss("),
        torch_place=Place(_MODULES, "CTCLoss", "the output losses will be divided by the target lengths"),
        seen="One sequence of four steps with equal scores of three classes and a target of length 2: 1.686 in "
        "Keras, half of it, 0.8432, in torch.",
        matters="yes: long targets count less in torch",
        given="logits = np.zeros((1, 4, 3)); target = np.array([[1, 2]])",
        keras_code="out = keras.losses.CTC()(target, logits)",
        torch_code="""
            log_probabilities = torch.tensor(logits).log_softmax(-1).transpose(0, 1)
            target, lengths, ends = torch.tensor(target), torch.tensor([4]), torch.tensor([2])
            out = F.ctc_loss(log_probabilities, target, lengths, ends)
            """,
        keras_gives=1.686,
        torch_gives=0.8432,
        torch_mend=Mend(
            "F.ctc_loss(log_probabilities, target, lengths, ends)",
            'F.ctc_loss(log_probabilities, target, lengths, ends, reduction="none").mean()',
        ),
        after=1e-7,
        inherent="TensorFlow computes this loss in float32, in float64 too.",
    ),
    Difference(
        name="label-smoothing-sparse",
        area="loss",
        title="Label smoothing",
        keras="CategoricalCrossentropy and BinaryCrossentropy have label_smoothing; the sparse loss has none.",
        torch="cross_entropy(label_smoothing=…) has it for labels of either form; binary_cross_entropy has none.",
        keras_place=Place(
            _LOSSES,
            "categorical_crossentropy",
            "y_true = y_true * (1.0 - label_smoothing) + ( label_smoothing / num_classes )",
        ),
        torch_place=Place(_MODULES, "CrossEntropyLoss.__init__", "label_smoothing: float = 0.0"),
        seen="SparseCategoricalCrossentropy(label_smoothing=0.1) raises TypeError. The formula is the same: the "
        "loss of logits (1, 0) is 0.3133 without and 0.3633 with it.",
        matters="an error; or a loss without the smoothing, lower by as much",
        given="logits = np.array([[1.0, 0.0]]); labels = np.array([0])",
        keras_code="""
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
            out = loss(labels, logits)
            """,
        torch_code="out = F.cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1)",
        keras_gives="TypeError",
        torch_gives=0.3633,
        keras_mend=Mend(
            "SparseCategoricalCrossentropy(from_logits=True, label_smoothing=0.1)\nout = loss(labels, logits)",
            "CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)\n"
            "out = loss(keras.utils.to_categorical(labels, 2), logits)",
        ),
    ),
)
