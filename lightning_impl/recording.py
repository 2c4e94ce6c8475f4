"""A training that leaves a record: what `docs/run-record.md` asks for, taken from live Lightning objects."""

import math
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import nn

from lightning_impl import backend
from lightning_impl.data import MnistDataModule
from lightning_impl.dropout import dropout_settings
from lightning_impl.module import DigitClassifier
from lightning_impl.optimizer import KerasAdam
from lightning_impl.weights import get_weights
from lightning_impl.windows import BorderWatcher, WindowedClassifier
from recipe import Recipe
from record.training import HISTORY_KEYS, RunRecord, Status, TestResults, divergence, write_training
from record.worker import Progress, peak_memory_bytes, versions

VERSIONS = ("lightning", "torch", "torchvision", "torchmetrics", "numpy")
"""The packages whose versions a record states."""


def quiet_trainer(accelerator: str, *callbacks: Callback, **options: Any) -> lightning.Trainer:
    """A Trainer on one device that leaves nothing but what the callbacks keep, and prints nothing."""
    return lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


class Recorder(Callback):
    """Collects history and step losses, reports progress, and stops a training that diverges."""

    takes_blocks = True
    """It counts the steps that were taken, whether by one or in blocks."""

    def __init__(self, recipe: Recipe) -> None:
        num_steps = math.ceil(recipe.images.num_training_images / recipe.batch_size)
        self.progress = Progress(recipe.epochs, num_steps)
        self.history: dict[str, list[float]] = {key: [] for key in HISTORY_KEYS}
        self.step_losses: list[NDArray[np.floating]] = []
        self.status = Status("finished")

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Starts the epoch's clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Reports progress."""
        self.progress.step(trainer.current_epoch, len(pl_module.step_losses))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Fetches the epoch's losses from the device; validation has run by now."""
        losses = torch.stack(pl_module.step_losses).cpu().numpy()
        # The module logs its training metrics after this hook of the callbacks.
        logged = {**trainer.callback_metrics, **pl_module.training_metrics().compute()}
        metrics = {key: value.item() for key, value in logged.items()}
        epoch = trainer.current_epoch
        losses, self.status = divergence(losses, metrics, get_weights(pl_module.model), epoch)
        self.step_losses.append(losses)
        if self.status.outcome == "diverged":
            trainer.should_stop = True
            return
        metrics["seconds"] = time.perf_counter() - self._start
        for key in HISTORY_KEYS:
            self.history[key].append(metrics[key])
        self.progress.epoch(epoch, {key: values[-1] for key, values in self.history.items()})


def settings(trainer: lightning.Trainer, module: DigitClassifier) -> dict[str, Any]:
    """The settings as the live objects state them, not the recipe, under names that both sides use.

    A batch has the size that the sampler's recipe says: the sampler is asked for blocks of batches.
    """
    optimizer, loss = trainer.optimizers[0], module.loss_function
    group = optimizer.param_groups[0]
    layers: dict[str, Any] = dict(module.model.named_children())
    betas = group.get("betas", (None, None))
    dtype = str(layers["output"].weight.dtype).removeprefix("torch.")
    convolves = any(isinstance(layer, nn.Conv2d) for layer in layers.values())
    loader: Any = trainer.train_dataloader
    batches = loader.batch_sampler
    return {
        "optimizer.name": "adam" if isinstance(optimizer, KerasAdam) else type(optimizer).__name__.lower(),
        "optimizer.learning_rate": group["lr"],
        "optimizer.beta_1": betas[0],
        "optimizer.beta_2": betas[1],
        "optimizer.epsilon": group.get("eps"),
        "optimizer.epsilon_added": f"{'before' if isinstance(optimizer, KerasAdam) else 'after'} bias correction",
        "optimizer.weight_decay": group.get("weight_decay", 0.0),
        "optimizer.amsgrad": group.get("amsgrad", False),
        "loss.name": "categorical cross-entropy" if isinstance(loss, nn.CrossEntropyLoss) else type(loss).__name__,
        "loss.takes": "logits",
        "loss.label_smoothing": loss.label_smoothing,
        "loss.reduction": loss.reduction,
        "layers": [
            {
                "name": name,
                "type": "convolution" if isinstance(layer, nn.Conv2d) else "dense",
                "units": layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features,
                "activation": type(layers.get(f"{name}_activation", nn.Softmax())).__name__.lower(),
                "use_bias": layer.bias is not None,
            }
            for name, layer in layers.items()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ],
        **dropout_settings(module.model),
        "dtype": dtype,
        "compute_dtype": dtype,
        "tf32": backend.tf32(convolves=convolves),
        "batch_size": batches.recipe.batch_size,
        "epochs": trainer.max_epochs,
        **({"departures": module.departures} if module.departures else {}),
    }


def train_and_record(recipe: Recipe, run_directory: Path, start: float, *, accelerator: str) -> None:
    """Trains, tests and writes the record; `start` is the perf_counter() at the process's start."""
    recorder = Recorder(recipe)
    # Borders first: nothing of the recorder's comes between a state and its hash.
    trainer = quiet_trainer(accelerator, BorderWatcher(), recorder, max_epochs=recipe.epochs, num_sanity_val_steps=0)
    module, digits = WindowedClassifier(recipe), MnistDataModule(recipe)
    trainer.fit(module, digits)
    live_settings = settings(trainer, module)

    test = None
    if recorder.status.outcome == "finished":
        (metrics,) = trainer.test(module, digits, verbose=False)
        predictions: Any = trainer.predict(module, digits)
        test = TestResults(metrics["test_loss"], metrics["test_accuracy"], torch.cat(predictions).cpu().numpy())
    step_losses = np.concatenate(recorder.step_losses)
    write_training(
        run_directory,
        RunRecord(
            recipe=recipe,
            framework="lightning",
            versions=versions(*VERSIONS),
            backend="torch",
            device=backend.current_device(trainer),
            threads=backend.num_threads(),
            settings=live_settings,
            history=recorder.history,
            test=test,
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory_bytes(),
            peak_gpu_memory_bytes=backend.peak_gpu_memory_bytes(trainer),
            status=recorder.status,
            step_losses=step_losses,
            weights=get_weights(module.model),
            windows=module.keeper.windows,
            fed=module.fed_so_far(len(step_losses)),
            epoch_states=module.keeper.epochs,
        ),
    )
