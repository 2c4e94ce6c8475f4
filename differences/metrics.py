"""What is printed: losses of an epoch, accuracies and their kin. torch has no metrics; torchmetrics is compared."""

from differences.entry import Difference, Mend, Place

ENTRIES = (
    Difference(
        name="fit-loss-running",
        area="metrics",
        title="The loss that fit prints for an epoch",
        keras="The mean over the epoch of each batch's loss at the weights of that time, in training mode; "
        "evaluate is of the last weights.",
        torch="Whatever the loop computes; a loss taken after the epoch is what evaluate gives.",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py",
            "TensorFlowTrainer.train_step",
            "self._loss_tracker.update_state(",
        ),
        torch_place=Place("torch/nn/functional.py", "mse_loss", "_Reduction.get_enum(reduction)"),
        seen="Two steps whose losses are 1 and 0.36: fit prints 0.68, evaluate then 0.1296.",
        matters="only for who compares the two: validation below training loss is not a fault",
        given="x = np.ones((2, 1)); y = np.zeros((2, 1))",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
            model.compile(keras.optimizers.SGD(0.2), "mse", run_eagerly=True)
            history = model.fit(x, y, batch_size=1, verbose=0)
            out = history.history["loss"]
            """,
        torch_code="""
            model, x, y, losses = nn.Linear(1, 1, bias=False), torch.tensor(x), torch.tensor(y), []
            nn.init.ones_(model.weight)
            optimizer = torch.optim.SGD(model.parameters(), 0.2)
            for batch, target in zip(x, y):
                optimizer.zero_grad()
                losses.append(F.mse_loss(model(batch), target))
                losses[-1].backward()
                optimizer.step()
            out = [F.mse_loss(model(x), y)]
            """,
        keras_gives=[0.68],
        torch_gives=[0.1296],
        torch_mend=Mend("[F.mse_loss(model(x), y)]", "[sum(losses) / len(losses)]"),
    ),
    Difference(
        name="epoch-mean-weights",
        since="Keras 3.2.0; before, it counted every batch alike",
        area="metrics",
        title="The last, smaller batch in an epoch's mean",
        keras="Every batch counts by its number of samples.",
        torch="The usual sum(losses) / len(loader) counts a small batch as much as a full one; Lightning's "
        "self.log weighs by batch_size.",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py", "TensorFlowTrainer.train_step", "sample_weight=tf.shape("
        ),
        torch_place=Place("torch/utils/data/dataloader.py", "DataLoader.__init__", "drop_last: bool = False"),
        seen="Losses 1, 1, 1 and 9 in batches of three: 3 in Keras, 5 as the mean of two batches.",
        matters="only for the printed number",
        given="y = np.array([[1.0], [1.0], [1.0], [3.0]])",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
            model.compile("sgd", "mse", run_eagerly=True)
            model.build((None, 1))
            out = model.evaluate(y, y, batch_size=3, verbose=0)
            """,
        torch_code="""
            loader = torch.utils.data.DataLoader(torch.tensor(y), batch_size=3)
            losses = [F.mse_loss(torch.zeros_like(batch), batch) for batch in loader]
            sizes = [len(batch) for batch in loader]
            out = sum(losses) / len(losses)
            """,
        keras_gives=3.0,
        torch_gives=5.0,
        torch_mend=Mend(
            "sum(losses) / len(losses)", "sum(loss * size for loss, size in zip(losses, sizes)) / sum(sizes)"
        ),
    ),
    Difference(
        name="progress-bar-loss",
        area="metrics",
        title="The loss beside the progress bar",
        keras="The mean of the epoch so far.",
        torch="loss.item() and Lightning's progress bar show the last batch's.",
        keras_place=Place("keras/src/trainers/trainer.py", "Trainer.get_metrics_result", "return_metrics"),
        torch_place=Place(
            "lightning/pytorch/trainer/connectors/logger_connector/result.py", "_Metadata", "prog_bar: bool = False"
        ),
        seen="Batches of losses 1 and 9: Keras shows 1, then 5; torch 1, then 9.",
        matters="no: Keras looks smoother, and slower to fall",
        given="y = np.array([[1.0], [3.0]])",
        keras_code="""
            shown = []
            show = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: shown.append(logs["loss"]))
            model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
            model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
            model.fit(y, y, batch_size=1, shuffle=False, callbacks=[show], verbose=0)
            out = shown
            """,
        torch_code="""
            losses = [F.mse_loss(torch.zeros(1), target) for target in torch.tensor(y)]
            out = losses
            """,
        keras_gives=[1.0, 5.0],
        torch_gives=[1.0, 9.0],
        torch_mend=Mend("out = losses", "out = [sum(losses[: n + 1]) / (n + 1) for n in range(len(losses))]"),
    ),
    Difference(
        name="printed-loss-penalty",
        area="metrics",
        title="Whether the printed loss has the penalty in it",
        keras="Yes: the loss that fit and evaluate print contains all regularisers.",
        torch="No: weight_decay acts in the optimizer and no loss shows it.",
        keras_place=Place("keras/src/trainers/trainer.py", "Trainer.compute_loss", "for loss in self.losses:"),
        torch_place=Place("torch/optim/sgd.py", "_single_tensor_sgd", "grad = grad.add(param, alpha=weight_decay)"),
        seen="A perfect output with a weight of 1 and L2(0.1): 0.1 in Keras, 0 in torch.",
        matters="only for the printed number",
        given="x = np.ones((1, 1))",
        keras_code="""
            layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
            layer.kernel_regularizer = keras.regularizers.L2(0.1)
            model = keras.Sequential([layer])
            model.compile("sgd", "mse", run_eagerly=True)
            out = model.evaluate(x, x, verbose=0)
            """,
        torch_code="""
            model, x = nn.Linear(1, 1, bias=False), torch.tensor(x)
            nn.init.ones_(model.weight)
            out = F.mse_loss(model(x), x)
            """,
        keras_gives=0.1,
        torch_gives=0.0,
        torch_mend=Mend("F.mse_loss(model(x), x)", "F.mse_loss(model(x), x) + 0.1 * model.weight.square().sum()"),
        after=1e-7,
        inherent="Keras rounds the 0.1 to float32, see `constants-float32`.",
    ),
    Difference(
        name="binary-accuracy-logits",
        area="metrics",
        title="Binary accuracy of logits",
        keras='"accuracy" compares the output with 0.5, whatever it is, also when the loss takes logits.',
        torch="torchmetrics applies a sigmoid when an output lies outside 0 to 1, and then compares with 0.5: "
        "logits with 0.",
        keras_place=Place("keras/src/metrics/accuracy_metrics.py", "BinaryAccuracy.__init__", "threshold=0.5"),
        torch_place=Place(
            "torchmetrics/functional/classification/stat_scores.py",
            "_binary_stat_scores_format",
            'normalize_logits_if_needed(preds, "sigmoid")',
        ),
        seen="Logits 0.2 and -3 of a 1 and a 0: 0.5 in Keras, 1 in torchmetrics.",
        matters="yes, for the printed number: sure enough is only a logit above 0.5",
        given="labels = np.array([[1.0], [0.0]]); logits = np.array([[0.2], [-3.0]])",
        keras_code="""
            metric = keras.metrics.BinaryAccuracy()
            metric.update_state(labels, logits)
            out = metric.result()
            """,
        torch_code="""
            from torchmetrics.classification import BinaryAccuracy

            metric = BinaryAccuracy()
            metric.update(torch.tensor(logits), torch.tensor(labels).long())
            out = metric.compute()
            """,
        keras_gives=0.5,
        torch_gives=1.0,
        keras_mend=Mend("BinaryAccuracy()", "BinaryAccuracy(threshold=0.0)"),
    ),
    Difference(
        name="multiclass-accuracy-average",
        area="metrics",
        title="Accuracy of several classes",
        keras="The share of samples that are right.",
        torch='torchmetrics\' MulticlassAccuracy has average="macro": the mean over classes of their shares. '
        'Accuracy(task=…) has "micro".',
        keras_place=Place(
            "keras/src/metrics/accuracy_metrics.py",
            "SparseCategoricalAccuracy",
            "This metric creates two local variables, `total` and `count`",
        ),
        torch_place=Place("torchmetrics/classification/stat_scores.py", "MulticlassStatScores.__init__", '"macro"'),
        seen="Three of class 0 right, one of class 1 wrong: 0.75 in Keras, 0.5 in torchmetrics.",
        matters="yes, for the printed number, with classes of different sizes",
        given="labels = np.array([0, 0, 0, 1]); scores = np.array([[0.9, 0.1]] * 4)",
        keras_code="""
            metric = keras.metrics.SparseCategoricalAccuracy()
            metric.update_state(labels, scores)
            out = metric.result()
            """,
        torch_code="""
            from torchmetrics.classification import MulticlassAccuracy

            metric = MulticlassAccuracy(2)
            metric.update(torch.tensor(scores), torch.tensor(labels))
            out = metric.compute()
            """,
        keras_gives=0.75,
        torch_gives=0.5,
        torch_mend=Mend("MulticlassAccuracy(2)", 'MulticlassAccuracy(2, average="micro")'),
    ),
    Difference(
        name="f1-average",
        area="metrics",
        title="F1 of several classes",
        keras="F1Score gives a number for each class (average=None) and takes one-hot labels.",
        torch='torchmetrics\' MulticlassF1Score gives their mean (average="macro") and takes indices.',
        keras_place=Place("keras/src/metrics/f_score_metrics.py", "F1Score.__init__", "average=None"),
        torch_place=Place("torchmetrics/classification/f_beta.py", "MulticlassF1Score.__init__", '"macro"'),
        seen="Three of class 0 and one of class 1, all taken for 0: (0.8571, 0) in Keras, 0.4286 in torchmetrics.",
        matters="only for the printed number",
        given="labels = np.array([0, 0, 0, 1]); scores = np.array([[0.9, 0.1]] * 4)",
        keras_code="""
            metric = keras.metrics.F1Score()
            metric.update_state(np.eye(2)[labels], scores)
            out = metric.result()
            """,
        torch_code="""
            from torchmetrics.classification import MulticlassF1Score

            metric = MulticlassF1Score(2)
            metric.update(torch.tensor(scores), torch.tensor(labels))
            out = metric.compute()
            """,
        keras_gives=[0.8571, 0.0],
        torch_gives=0.4286,
        keras_mend=Mend("F1Score()", 'F1Score(average="macro")'),
        after=1e-7,
        inherent="Both compute it in float32.",
    ),
    Difference(
        name="auc-thresholds",
        area="metrics",
        title="Area under a curve",
        keras="AUC counts at 200 thresholds and interpolates.",
        torch="torchmetrics' BinaryAUROC uses every score (thresholds=None): exact.",
        keras_place=Place("keras/src/metrics/confusion_metrics.py", "AUC.__init__", "num_thresholds=200"),
        torch_place=Place("torchmetrics/classification/auroc.py", "BinaryAUROC.__init__", "thresholds"),
        seen="Scores 0.0010, 0.0011, 0.0012, 0.0013 of labels 0, 1, 0, 1, all between two thresholds: 0.5 in "
        "Keras, 0.75 in torchmetrics.",
        matters="yes, where scores crowd at one end, as those of rare classes do",
        given="labels = np.array([0, 1, 0, 1]); scores = np.array([0.0010, 0.0011, 0.0012, 0.0013])",
        keras_code="""
            metric = keras.metrics.AUC()
            metric.update_state(labels, scores)
            out = metric.result()
            """,
        torch_code="""
            from torchmetrics.classification import BinaryAUROC

            metric = BinaryAUROC()
            metric.update(torch.tensor(scores), torch.tensor(labels))
            out = metric.compute()
            """,
        keras_gives=0.5,
        torch_gives=0.75,
        keras_mend=Mend("AUC()", "AUC(thresholds=[0.00105, 0.00115, 0.00125])  # or more of them: num_thresholds"),
    ),
    Difference(
        name="metric-reset",
        area="metrics",
        title="When a metric starts again",
        keras="fit and evaluate reset all compiled metrics before each epoch.",
        torch="A torchmetrics object goes on until reset() is called; Lightning does so for those given to self.log.",
        keras_place=Place("keras/src/backend/tensorflow/trainer.py", "TensorFlowTrainer.fit", "self.reset_metrics()"),
        torch_place=Place("torchmetrics/metric.py", "Metric.reset", "self._update_count = 0"),
        seen="Accuracies 0 and then 1 in two evaluations: the second shows 1 in Keras, 0.5 in torchmetrics.",
        matters="only for the printed number, which lags behind",
        given="wrong, right = np.array([[0.0]]), np.array([[1.0]])",
        keras_code="""
            model = keras.Sequential([keras.layers.Rescaling(1.0)])
            model.compile("sgd", "mse", metrics=["accuracy"], run_eagerly=True)
            shown = [model.evaluate(x, right, verbose=0)[1] for x in (wrong, right)]
            out = shown[1]
            """,
        torch_code="""
            from torchmetrics.classification import BinaryAccuracy

            metric, shown = BinaryAccuracy(), []
            for x in (wrong, right):
                metric.update(torch.tensor(x), torch.tensor(right).long())
                shown.append(metric.compute())
            out = shown[1]
            """,
        keras_gives=1.0,
        torch_gives=0.5,
        torch_mend=Mend("    shown.append(metric.compute())", "    shown.append(metric.compute())\n    metric.reset()"),
    ),
)
