"""Callbacks: what stops a training and what they are called with. torch has none; Lightning's are compared."""

from differences.entry import Difference, Mend, Place

_EARLY = "keras/src/callbacks/early_stopping.py"
_LIGHTNING = "lightning/pytorch/callbacks/early_stopping.py"
_KERAS_STOPS = """
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    callback = keras.callbacks.EarlyStopping({arguments})
    callback.set_model(model)
    callback.on_train_begin()
    epochs = 0
    for epoch, value in enumerate(values):
        epochs += 1
        callback.on_epoch_end(epoch, {{{name}: value}})
        if model.stop_training:
            break
    out = epochs
    """
_KERAS_ACCURACY_STOPS = _KERAS_STOPS.replace(
    "    callback.set_model",
    "    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))  # makes the metrics\n    callback.set_model",
)
_LIGHTNING_STOPS = """
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import EarlyStopping

    callback = EarlyStopping({arguments})
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    epochs = 0
    for value in values:
        epochs += 1
        trainer.callback_metrics[{name}] = torch.tensor(value)
        callback._run_early_stopping_check(trainer)
        if trainer.should_stop:
            break
    out = epochs
    """

ENTRIES = (
    Difference(
        name="early-stopping-patience",
        area="callbacks",
        title="Default patience of EarlyStopping",
        keras="patience=0: the first epoch without improvement stops the training.",
        torch="Lightning: patience=3. torch has no callbacks.",
        keras_place=Place(_EARLY, "EarlyStopping.__init__", "patience=0"),
        torch_place=Place(_LIGHTNING, "EarlyStopping.__init__", "patience: int = 3"),
        seen="Of a constant loss 2 epochs run in Keras, 4 in Lightning.",
        matters="yes: trainings of another length",
        given="values = [1.0] * 9",
        keras_code=_KERAS_STOPS.format(arguments='"val_loss"', name='"val_loss"'),
        torch_code=_LIGHTNING_STOPS.format(arguments='"val_loss"', name='"val_loss"'),
        keras_gives=2,
        torch_gives=4,
        torch_mend=Mend(
            'EarlyStopping("val_loss")', 'EarlyStopping("val_loss", patience=1)  # 0 and 1 are one in Keras'
        ),
    ),
    Difference(
        name="early-stopping-mode",
        area="callbacks",
        title="Which direction EarlyStopping takes for better",
        keras='mode="auto": up for metrics that are known to be better so, such as accuracy.',
        torch='Lightning: mode="min", for any metric.',
        keras_place=Place(
            "keras/src/callbacks/monitor_callback.py",
            "MonitorCallback._set_monitor_op",
            'if m._direction == "up":',
        ),
        torch_place=Place(_LIGHTNING, "EarlyStopping.__init__", 'mode: str = "min"'),
        seen="An accuracy that rises in each of 9 epochs, patience 3: all 9 run in Keras, 4 in Lightning.",
        matters="yes: the training stops while it improves",
        given="values = [0.1 * epoch for epoch in range(1, 10)]",
        keras_code=_KERAS_ACCURACY_STOPS.format(arguments='"val_accuracy", patience=3', name='"val_accuracy"'),
        torch_code=_LIGHTNING_STOPS.format(arguments='"val_accuracy", patience=3', name='"val_accuracy"'),
        keras_gives=9,
        torch_gives=4,
        torch_mend=Mend("patience=3", 'patience=3, mode="max"'),
    ),
    Difference(
        name="early-stopping-nan",
        area="callbacks",
        title="A loss that is NaN",
        keras="EarlyStopping takes it for an epoch without improvement; TerminateOnNaN stops, where it is given.",
        torch="Lightning's EarlyStopping stops at once (check_finite=True).",
        keras_place=Place(_EARLY, "EarlyStopping.on_epoch_end", "if self._is_improvement(current, self.best):"),
        torch_place=Place(
            _LIGHTNING,
            "EarlyStopping._evaluate_stopping_criteria",
            "if self.check_finite and not torch.isfinite(current):",
        ),
        seen="Losses 1, NaN, NaN, … with patience 5: 6 epochs run in Keras, 2 in Lightning.",
        matters="only for the time it takes",
        given='values = [1.0] + [float("nan")] * 8',
        keras_code=_KERAS_STOPS.format(arguments='"val_loss", patience=5', name='"val_loss"'),
        torch_code=_LIGHTNING_STOPS.format(arguments='"val_loss", patience=5', name='"val_loss"'),
        keras_gives=6,
        torch_gives=2,
        torch_mend=Mend("patience=5", "patience=5, check_finite=False"),
    ),
    Difference(
        name="sanity-check",
        area="callbacks",
        title="Validation before the training",
        keras="None.",
        torch="Lightning runs two batches of validation first (num_sanity_val_steps=2), callbacks and metrics "
        "included.",
        keras_place=Place(
            "keras/src/backend/tensorflow/trainer.py",
            "TensorFlowTrainer.fit",
            "self._should_eval(epoch, validation_freq)",
        ),
        torch_place=Place("lightning/pytorch/trainer/trainer.py", "Trainer.__init__", "num_sanity_val_steps = 2"),
        seen="The number of validation batches before the first training batch: 0 in Keras, 2 in Lightning.",
        matters="no, unless what is counted or drawn at random there shifts what follows",
        keras_code="""
            before = []
            seen = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: before.append("training"))
            seen.on_test_batch_begin = lambda batch, logs=None: before.append("validation")
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile("sgd", "mse", run_eagerly=True)
            x = np.ones((3, 1))
            model.fit(x, x, batch_size=1, validation_data=(x, x), callbacks=[seen], verbose=0)
            out = before.index("training")
            """,
        torch_code="""
            from lightning.pytorch import LightningModule, Trainer

            class Module(LightningModule):
                def __init__(self):
                    super().__init__()
                    self.layer, self.before = nn.Linear(1, 1), []

                def training_step(self, batch):
                    self.before.append("training")
                    return self.layer(batch).sum()

                def validation_step(self, batch):
                    self.before.append("validation")

                def configure_optimizers(self):
                    return torch.optim.SGD(self.parameters(), 0.01)

            quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
            module, loader = Module(), torch.utils.data.DataLoader(torch.ones(3, 1))
            trainer.fit(module, loader, loader)
            out = module.before.index("training")
            """,
        keras_gives=0,
        torch_gives=2,
        torch_mend=Mend("Trainer(max_epochs=1,", "Trainer(max_epochs=1, num_sanity_val_steps=0,"),
    ),
    Difference(
        name="schedule-function",
        area="callbacks",
        title="What a schedule's own function returns",
        keras="LearningRateScheduler(schedule): schedule(epoch, rate) returns the rate.",
        torch="LambdaLR(optimizer, function): function(epoch) returns a factor of the first rate.",
        keras_place=Place(
            "keras/src/callbacks/learning_rate_scheduler.py",
            "LearningRateScheduler._update_optimizer_lr",
            "optimizer.learning_rate = learning_rate",
        ),
        torch_place=Place("torch/optim/lr_scheduler.py", "LambdaLR.get_lr", "base_lr * lmbda(self.last_epoch)"),
        seen="A function that returns 0.1, an optimizer with 0.5: 0.1 in Keras, 0.05 in torch.",
        matters="yes: the rate is multiplied once more",
        keras_code="""
            model = keras.Sequential([keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(0.5), "mse")
            callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1)
            callback.set_model(model)
            callback.on_epoch_begin(0)
            out = float(model.optimizer.learning_rate)
            """,
        torch_code="""
            optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.5)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.1)
            out = optimizer.param_groups[0]["lr"]
            """,
        keras_gives=0.1,
        torch_gives=0.05,
        torch_mend=Mend("lambda epoch: 0.1", "lambda epoch: 0.1 / 0.5"),
    ),
)
