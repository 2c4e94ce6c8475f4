"""Schedules of the learning rate."""

from differences.entry import Difference, Mend, Place

_SCHEDULE = "keras/src/optimizers/schedules/learning_rate_schedule.py"
_TORCH = "torch/optim/lr_scheduler.py"
_FLOAT32 = "Keras computes schedules in float32."
_RATES = """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    {scheduler}
    out = []
    for _ in range({steps}):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    """


def _rates(scheduler: str, steps: int) -> str:
    return _RATES.format(scheduler=f"scheduler = torch.optim.lr_scheduler.{scheduler}", steps=steps)


ENTRIES = (
    Difference(
        name="schedule-unit",
        area="schedule",
        title="What a schedule counts",
        keras="LearningRateSchedule counts optimizer steps by itself.",
        torch="A scheduler counts its own step() calls, which tutorials make once an epoch; Lightning, too, by "
        "default.",
        keras_place=Place(
            "keras/src/optimizers/base_optimizer.py",
            "BaseOptimizer._get_current_learning_rate",
            "return self._learning_rate(self._iterations)",
        ),
        torch_place=Place(_TORCH, "LRScheduler._update_lr", "self.last_epoch += 1"),
        seen="Decay by 0.5 with decay_steps=1 and gamma=0.5 over 2 epochs of 2 steps, the rates used: (1, 0.5, "
        "0.25, 0.125) in Keras, (1, 1, 0.5, 0.5) in torch.",
        matters="yes: the rate falls by the number of steps an epoch too fast or too slowly",
        keras_code="""
            schedule = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)
            optimizer, variable, out = keras.optimizers.SGD(schedule), keras.Variable(np.zeros(1)), []
            for epoch in range(2):
                for batch in range(2):
                    out.append(float(optimizer.learning_rate))
                    optimizer.apply([keras.ops.zeros(1)], [variable])
            """,
        torch_code="""
            optimizer, out = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0), []
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            for epoch in range(2):
                for batch in range(2):
                    out.append(optimizer.param_groups[0]["lr"])
                    optimizer.step()
                scheduler.step()
            """,
        keras_gives=[1.0, 0.5, 0.25, 0.125],
        torch_gives=[1.0, 1.0, 0.5, 0.5],
        torch_mend=Mend("    scheduler.step()", "        scheduler.step()"),
    ),
    Difference(
        name="schedule-exponential-steps",
        area="schedule",
        title="Exponential decay between its steps",
        keras="ExponentialDecay(rate, decay_steps, decay_rate): rate·decay_rate^(step/decay_steps), smoothly "
        "unless staircase=True.",
        torch="ExponentialLR multiplies by gamma at each call; StepLR(step_size) by gamma once in step_size calls, "
        "a staircase.",
        keras_place=Place(_SCHEDULE, "ExponentialDecay.__call__", "if self.staircase:"),
        torch_place=Place(_TORCH, "StepLR.get_lr", "self.last_epoch % self.step_size != 0"),
        seen="Decay by 0.25 every 2 steps: (1, 0.5, 0.25, 0.125) in Keras, (1, 1, 0.25, 0.25) with StepLR.",
        matters="a little: on average a rate lower by √decay_rate",
        keras_code="""
            schedule = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=2, decay_rate=0.25)
            out = [float(schedule(step)) for step in range(4)]
            """,
        torch_code=_rates("StepLR(optimizer, step_size=2, gamma=0.25)", 4),
        keras_gives=[1.0, 0.5, 0.25, 0.125],
        torch_gives=[1.0, 1.0, 0.25, 0.25],
        keras_mend=Mend("decay_rate=0.25", "decay_rate=0.25, staircase=True"),
    ),
    Difference(
        name="schedule-cosine-end",
        area="schedule",
        title="After the end of a cosine decay",
        keras="CosineDecay stays at its lowest value.",
        torch="CosineAnnealingLR rises again after T_max.",
        keras_place=Place(_SCHEDULE, "CosineDecay.__call__", "ops.minimum( global_step_recomp, decay_steps )"),
        torch_place=Place(_TORCH, "CosineAnnealingLR.get_lr", "(1 + math.cos(math.pi * self.last_epoch / self.T_max))"),
        seen="From 1 in 2 steps, then 2 more: (1, 0.5, 0, 0, 0) in Keras, (1, 0.5, 0, 0.5, 1) in torch.",
        matters="where the training is longer than the decay",
        keras_code="""
            schedule = keras.optimizers.schedules.CosineDecay(1.0, decay_steps=2)
            out = [float(schedule(step)) for step in range(5)]
            """,
        torch_code=_rates("CosineAnnealingLR(optimizer, T_max=2)", 5),
        keras_gives=[1.0, 0.5, 0.0, 0.0, 0.0],
        torch_gives=[1.0, 0.5, 0.0, 0.5, 1.0],
        torch_mend=Mend(
            "    scheduler.step()", "    if scheduler.last_epoch < scheduler.T_max:\n        scheduler.step()"
        ),
        after=1e-7,
        inherent=_FLOAT32,
    ),
    Difference(
        name="schedule-restarts-period",
        area="schedule",
        title="Periods of a cosine decay with restarts",
        keras="CosineDecayRestarts: each period is twice as long as the one before (t_mul=2).",
        torch="CosineAnnealingWarmRestarts: all are as long as the first (T_mult=1).",
        keras_place=Place(_SCHEDULE, "CosineDecayRestarts.__init__", "t_mul=2.0"),
        torch_place=Place(_TORCH, "CosineAnnealingWarmRestarts.__init__", "T_mult: int = 1"),
        seen="From 1 with a first period of 2: (1, 0.5, 1, 0.8536, 0.5) in Keras, (1, 0.5, 1, 0.5, 1) in torch.",
        matters="yes: other restarts",
        keras_code="""
            schedule = keras.optimizers.schedules.CosineDecayRestarts(1.0, first_decay_steps=2)
            out = [float(schedule(step)) for step in range(5)]
            """,
        torch_code=_rates("CosineAnnealingWarmRestarts(optimizer, T_0=2)", 5),
        keras_gives=[1.0, 0.5, 1.0, 0.8536, 0.5],
        torch_gives=[1.0, 0.5, 1.0, 0.5, 1.0],
        torch_mend=Mend("T_0=2", "T_0=2, T_mult=2"),
        after=1e-6,
        inherent=_FLOAT32,
    ),
    Difference(
        name="schedule-polynomial-end",
        area="schedule",
        title="Where a polynomial decay ends",
        keras="PolynomialDecay ends at end_learning_rate = 0.0001; decay_steps has to be given.",
        torch="PolynomialLR ends at 0, after total_iters = 5 calls unless told otherwise.",
        keras_place=Place(_SCHEDULE, "PolynomialDecay.__init__", "end_learning_rate=0.0001"),
        torch_place=Place(_TORCH, "PolynomialLR.__init__", "total_iters: int = 5"),
        seen="From 1 in 2 steps: (1, 0.50005, 0.0001) in Keras, (1, 0.5, 0) in torch, where the weights then stay "
        "as they are.",
        matters="where the training is longer than the decay",
        keras_code="""
            schedule = keras.optimizers.schedules.PolynomialDecay(1.0, decay_steps=2)
            out = [float(schedule(step)) for step in range(3)]
            """,
        torch_code=_rates("PolynomialLR(optimizer, total_iters=2)", 3),
        keras_gives=[1.0, 0.50005, 0.0001],
        torch_gives=[1.0, 0.5, 0.0],
        within=1e-6,
        keras_mend=Mend("decay_steps=2", "decay_steps=2, end_learning_rate=0.0"),
    ),
    Difference(
        name="schedule-piecewise-boundary",
        area="schedule",
        title="At which step a new rate begins",
        keras="PiecewiseConstantDecay: step 2, counted from 0, still has the rate before a boundary of 2.",
        torch="MultiStepLR: call 2 has the rate after a milestone of 2.",
        keras_place=Place(_SCHEDULE, "PiecewiseConstantDecay.__call__", "step <= boundaries[0]"),
        torch_place=Place(_TORCH, "MultiStepLR.get_lr", "if self.last_epoch not in self.milestones:"),
        seen="Rates 1 and 0.1, boundary 2, steps 0 to 3: (1, 1, 1, 0.1) in Keras, (1, 1, 0.1, 0.1) in torch.",
        matters="little: one step",
        keras_code="""
            schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [1.0, 0.1])
            out = [float(schedule(step)) for step in range(4)]
            """,
        torch_code=_rates("MultiStepLR(optimizer, milestones=[2])", 4),
        keras_gives=[1.0, 1.0, 1.0, 0.1],
        torch_gives=[1.0, 1.0, 0.1, 0.1],
        keras_mend=Mend("[2], ", "[2 - 1], "),
        after=1e-7,
        inherent=_FLOAT32,
    ),
    Difference(
        name="plateau-threshold",
        area="schedule",
        title="What counts as an improvement for ReduceLROnPlateau",
        keras="min_delta = 1e-4, absolute.",
        torch='threshold = 1e-4, as a share of the best value (threshold_mode="rel").',
        keras_place=Place(
            "keras/src/callbacks/reduce_lr_on_plateau.py", "ReduceLROnPlateau.__init__", "min_delta=1e-4"
        ),
        torch_place=Place(_TORCH, "ReduceLROnPlateau.__init__", 'threshold_mode: Literal["rel", "abs"] = "rel"'),
        seen="A loss that falls from 0.01 by 2e-5 an epoch: no improvement in Keras, one in torch. A loss that "
        "falls from 10 by 2e-4: the other way round. The rates after four epochs: (0.1, 1) in Keras, (1, 0.1) in "
        "torch.",
        matters="late in a training, when losses are small",
        given="small, large = [0.01, 0.00998, 0.00996, 0.00994], [10.0, 9.9998, 9.9996, 9.9994]",
        keras_code="""
            out = []
            for losses in (small, large):
                model = keras.Sequential([keras.layers.Dense(1)])
                model.compile(keras.optimizers.SGD(1.0), "mse")
                callback = keras.callbacks.ReduceLROnPlateau("loss", patience=3, min_delta=1e-4)
                callback.set_model(model)
                callback.on_train_begin()
                for epoch, loss in enumerate(losses):
                    callback.on_epoch_end(epoch, {"loss": loss})
                out.append(float(model.optimizer.learning_rate))
            """,
        torch_code="""
            out = []
            for losses in (small, large):
                optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
                reduce = torch.optim.lr_scheduler.ReduceLROnPlateau
                scheduler = reduce(optimizer, patience=3 - 1, threshold=1e-4)
                for loss in losses:
                    scheduler.step(loss)
                out.append(optimizer.param_groups[0]["lr"])
            """,
        keras_gives=[0.1, 1.0],
        torch_gives=[1.0, 0.1],
        torch_mend=Mend("threshold=1e-4)", 'threshold=1e-4, threshold_mode="abs")'),
    ),
    Difference(
        name="plateau-patience",
        area="schedule",
        title="How long ReduceLROnPlateau waits",
        keras="patience=n: the rate falls after n epochs without improvement.",
        torch="patience=n: after n + 1.",
        keras_place=Place(
            "keras/src/callbacks/reduce_lr_on_plateau.py",
            "ReduceLROnPlateau.on_epoch_end",
            "if self.wait >= self.patience:",
        ),
        torch_place=Place(_TORCH, "ReduceLROnPlateau.step", "if self.num_bad_epochs > self.patience:"),
        seen="A constant loss and patience 2; the rates after each of four epochs: (1, 1, 0.1, 0.1) in Keras, (1, "
        "1, 1, 0.1) in torch.",
        matters="little: one epoch",
        given="losses = [1.0, 1.0, 1.0, 1.0]",
        keras_code="""
            model, out = keras.Sequential([keras.layers.Dense(1)]), []
            model.compile(keras.optimizers.SGD(1.0), "mse")
            callback = keras.callbacks.ReduceLROnPlateau("loss", patience=2)
            callback.set_model(model)
            callback.on_train_begin()
            for epoch, loss in enumerate(losses):
                callback.on_epoch_end(epoch, {"loss": loss})
                out.append(float(model.optimizer.learning_rate))
            """,
        torch_code="""
            optimizer, out = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0), []
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
            for loss in losses:
                scheduler.step(loss)
                out.append(optimizer.param_groups[0]["lr"])
            """,
        keras_gives=[1.0, 1.0, 0.1, 0.1],
        torch_gives=[1.0, 1.0, 1.0, 0.1],
        torch_mend=Mend("patience=2", "patience=2 - 1"),
    ),
)
