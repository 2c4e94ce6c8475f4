"""A training that leaves a record: what `docs/run-record.md` asks for, taken from live Keras objects."""

import math
import time
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from keras_impl import backend
from keras_impl.data import preprocess
from keras_impl.training import RecordingSequential, compile_model, evaluate, fit, predict, settings
from keras_impl.weights import get_weights
from recipe import Recipe
from recipe.mnist import Digits
from record.training import HISTORY_KEYS, RunRecord, Status, TestResults, divergence, write_training
from record.worker import Progress, peak_memory_bytes, versions


class Recorder(keras.callbacks.Callback):
    """Collects history and step losses, reports progress, and stops a training that diverges."""

    model: RecordingSequential

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        super().__init__()
        self.recipe = recipe
        self.progress = progress
        self.history: dict[str, list[float]] = {key: [] for key in HISTORY_KEYS}
        self.step_losses: list[NDArray[np.floating]] = []
        self.status = Status("finished")

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the epoch's clock."""
        self._epoch = epoch
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Reports progress; `batch` is the last of this execution, from 0."""
        self.progress.step(self._epoch, min(batch + 1, self.progress.steps_per_epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Fetches the epoch's losses from the device."""
        logs = logs or {}
        losses = np.asarray(keras.ops.convert_to_numpy(self.model.step_losses.losses))
        losses, self.status = divergence(losses, logs, get_weights(self.model), epoch)
        self.step_losses.append(losses)
        if self.status.outcome == "diverged":
            self.model.stop_training = True
            return
        metrics = {**logs, "seconds": time.perf_counter() - self._start}
        for key in HISTORY_KEYS:
            self.history[key].append(float(metrics[key]))
        self.progress.epoch(epoch, {key: values[-1] for key, values in self.history.items()})


def train_and_record(recipe: Recipe, digits: Digits, run_directory: Path, start: float) -> None:
    """Trains, evaluates and writes the record; `start` is the perf_counter() at the process's start."""
    model = compile_model(recipe)
    progress = Progress(recipe.epochs, math.ceil(len(digits.x_train) / recipe.batch_size))
    recorder = Recorder(recipe, progress)
    live_settings = settings(model, recipe)
    fit(model, recipe, digits, callbacks=[recorder])

    test = None
    if recorder.status.outcome == "finished":
        metrics = evaluate(model, recipe, digits)
        x_test, _ = preprocess(digits.x_test, digits.y_test, recipe)
        test = TestResults(metrics["loss"], metrics["accuracy"], predict(model, x_test))
    name = keras.backend.backend()
    write_training(
        run_directory,
        RunRecord(
            recipe=recipe,
            framework="keras",
            versions=versions("keras", name, "numpy"),
            backend=name,
            device=backend.current_device(),
            threads=backend.num_threads(),
            settings=live_settings,
            history=recorder.history,
            test=test,
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory_bytes(),
            status=recorder.status,
            step_losses=np.concatenate(recorder.step_losses),
            weights=get_weights(model),
        ),
    )
