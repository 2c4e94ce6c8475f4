"""A training that leaves a record: what `docs/run-record.md` asks for, taken from live Keras objects."""

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_impl import backend
from keras_impl.data import preprocess
from keras_impl.dropout import dropout_settings
from keras_impl.metrics import RecordingSequential
from keras_impl.training import compile_model, evaluate, fit, predict
from keras_impl.weights import get_weights, layers_with_parameters
from keras_impl.windows import WindowedSequential, Windows
from recipe import Recipe
from recipe.mnist import Digits
from record.training import HISTORY_KEYS, RunRecord, Status, TestResults, divergence, write_training
from record.worker import Progress, peak_memory_bytes, versions


class Recorder(keras.callbacks.Callback):
    """Collects history and step losses, reports progress, and stops a training that diverges."""

    model: RecordingSequential

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        num_steps = math.ceil(recipe.images.num_training_images / recipe.batch_size)
        self.progress = Progress(recipe.epochs, num_steps)
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


def settings(model: keras.Sequential, recipe: Recipe) -> dict[str, Any]:
    """The settings as the live objects state them, not the recipe, under names that both sides use.

    The softmax of the output counts where the loss has it. Batch size and epochs are arguments of `fit`, which keeps
    neither, so that these two are the recipe's.
    """
    optimizer, layers = model.optimizer, layers_with_parameters(model)
    logits_loss = model.loss.from_logits or keras.backend.backend() == "tensorflow"
    return {
        "optimizer.name": type(optimizer).__name__.lower(),
        "optimizer.learning_rate": float(ops.convert_to_numpy(optimizer.learning_rate)),
        "optimizer.beta_1": optimizer.beta_1,
        "optimizer.beta_2": optimizer.beta_2,
        "optimizer.epsilon": optimizer.epsilon,
        "optimizer.epsilon_added": "before bias correction",
        "optimizer.weight_decay": optimizer.weight_decay or 0.0,
        "optimizer.amsgrad": optimizer.amsgrad,
        "loss.name": "categorical cross-entropy"
        if isinstance(model.loss, keras.losses.CategoricalCrossentropy)
        else type(model.loss).__name__,
        "loss.takes": "logits" if logits_loss else "probabilities clipped to [1e-07, 1 - 1e-07]",
        "loss.label_smoothing": model.loss.label_smoothing,
        "loss.reduction": "mean" if model.loss.reduction == "sum_over_batch_size" else model.loss.reduction,
        "layers": [
            {
                "name": layer.name,
                "type": "convolution" if isinstance(layer, keras.layers.Conv2D) else "dense",
                "units": layer.filters if isinstance(layer, keras.layers.Conv2D) else layer.units,
                "activation": "softmax"
                if layer is layers[-1] and model.loss.from_logits
                else layer.activation.__name__,
                "use_bias": layer.use_bias,
            }
            for layer in layers
        ],
        **dropout_settings(model),
        "dtype": layers[0].kernel.dtype,
        "compute_dtype": model.compute_dtype,
        "tf32": backend.tf32(convolves=any(isinstance(layer, keras.layers.Conv2D) for layer in layers)),
        "batch_size": recipe.batch_size,
        "epochs": recipe.epochs,
    }


def train_and_record(recipe: Recipe, digits: Digits, run_directory: Path, start: float) -> None:
    """Trains, evaluates and writes the record; `start` is the perf_counter() at the process's start."""
    model = compile_model(recipe, WindowedSequential)
    recorder = Recorder(recipe)
    live_settings = settings(model, recipe)
    windows = Windows(model, recipe)
    fit(model, recipe, digits, callbacks=[windows, recorder])

    test = None
    if recorder.status.outcome == "finished":
        metrics = evaluate(model, recipe, digits)
        x_test, _ = preprocess(digits.x_test, digits.y_test, recipe)
        test = TestResults(metrics["loss"], metrics["accuracy"], predict(model, x_test))
    name = keras.backend.backend()
    step_losses = np.concatenate(recorder.step_losses)
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
            peak_gpu_memory_bytes=backend.peak_gpu_memory_bytes(),
            status=recorder.status,
            step_losses=step_losses,
            weights=get_weights(model),
            windows=windows.keeper.windows,
            fed=windows.fed(len(step_losses)),
            epoch_states=windows.keeper.epochs,
        ),
    )
