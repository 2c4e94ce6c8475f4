"""Checkpoints of a training: whole Keras models, from which the same command resumes after a kill."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras

from keras_impl.dropout import plain_layers
from keras_impl.training import compile_model, evaluate
from recipe import Recipe, RecipeError
from recipe.atomic import check_writable, complete_or_absent
from recipe.errors import RecordError, as_one_line
from recipe.mnist import Digits
from recipe.plain_file import MAX_UNPACKED, check_archive, check_is_file
from record.files import read_recipe


class Checkpoints(keras.callbacks.Callback):
    """Leaves `last.keras` and `best.keras`, the best by validation accuracy, in a directory after every epoch.

    Keras's BackupAndRestore writes the weights and then the epoch, each into its place: a process
    killed meanwhile cannot resume, or resumes wrong. Here `last.keras` alone counts, for the steps
    that its optimizer has taken tell the epoch, and every file appears complete or not at all. An
    epoch that was begun is repeated from its beginning.

    With the recipe's batch order the weights are those of an uninterrupted training, bit for bit on
    a CPU. Keras's own shuffle draws other orders after a restart, its own dropout other masks.

    Args:
        directory: Where the files are or will be, next to the training's `recipe.json`.
        recipe: What is trained.
    """

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        super().__init__()
        self.directory, self.recipe = directory, recipe
        self.last, self.best = directory / "last.keras", directory / "best.keras"
        self.best_accuracy = -math.inf

    def resume(self, model: keras.Sequential, digits: Digits) -> int:
        """Restores weights and optimizer from the last checkpoint, if there is one; returns the epochs done.

        Raises:
            RecipeError: The checkpoints are of another recipe, or have done more epochs than it asks for.
            RecordError: The directory is not writable or holds something else, or a file of it is damaged.
        """
        check_writable(self.directory)
        epochs_done = 0
        if self.last.exists():
            self.recipe.check_continues(read_recipe(self.directory), self.directory)
            load_checkpoint(self.last, model)
            steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
            epochs_done = steps // math.ceil(len(digits.x_train) / self.recipe.batch_size)
            if epochs_done > self.recipe.epochs:
                raise RecipeError(f"{self.last} has done {epochs_done} epochs; recipe.epochs is {self.recipe.epochs}")
            best = compile_model(self.recipe)
            load_checkpoint(self.best, best)
            self.best_accuracy = evaluate(best, self.recipe, digits)["accuracy"]
        else:
            self._check_recipe_is_nobody_elses()
        with complete_or_absent(self.directory / "recipe.json") as partial:
            partial.write_text(self.recipe.to_json())
        return epochs_done

    def _check_recipe_is_nobody_elses(self) -> None:
        """Refuses a directory in which another recipe describes a record or converted weights."""
        own = (self.last.name, self.best.name)
        others = sorted(
            path.name
            for path in self.directory.iterdir()
            if path.suffix in (".safetensors", ".keras", ".h5") and path.name.removeprefix("partial-") not in own
        )
        if others and (self.directory / "recipe.json").exists() and read_recipe(self.directory) != self.recipe:
            raise RecordError(f"{self.directory}: its recipe.json is of {others[0]}; choose another directory")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the best file before the last, which says that the epoch is done."""
        accuracy = (logs or {})["val_accuracy"]
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            save_checkpoint(self.best, self.model)
        save_checkpoint(self.last, self.model)


def _as_saved(model: keras.Sequential) -> keras.Sequential:
    """The same layers, optimizer and loss in a plain Sequential, which Keras loads without this package."""
    plain = keras.Sequential([keras.Input(shape=model.input_shape[1:]), *plain_layers(model)])
    plain.compile(optimizer=model.optimizer, loss=model.loss, metrics=["accuracy"])
    return plain


def save_checkpoint(path: Path, model: keras.Sequential) -> None:
    """Writes the compiled model, weights and optimizer to a `.keras` file, complete or not at all."""
    with complete_or_absent(path) as partial:
        _as_saved(model).save(partial)


def load_checkpoint(path: Path, model: keras.Sequential) -> None:
    """Overwrites the weights and the optimizer's state.

    Raises:
        RecordError: The file cannot be read, or its arrays are not this model's.
    """
    model.optimizer.build(model.trainable_variables)
    load_weights(path, _as_saved(model))


def load_weights(path: Path, model: keras.Sequential) -> None:
    """Overwrites what the model has of weights and state; of the file, only arrays are read, never code.

    Raises:
        RecordError: The file cannot be read, or its arrays are not this model's.
    """
    try:
        check_is_file(path)
        if path.suffix == ".keras":
            check_archive(path)
        with _opened(path) as file:
            _check_arrays(file, model)
        model.load_weights(path)
    except Exception as error:
        raise RecordError(f"{path}: not a file of this network's weights: {as_one_line(error)}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file of a `.weights.h5`, or in a `.keras`."""
    if path.suffix != ".keras":
        with h5py.File(path, "r") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member, h5py.File(member, "r") as file:
        yield file


def _check_arrays(file: Any, model: keras.Model) -> None:
    """Looks at the arrays of a file before one is read: Keras would round another type to the model's in silence.

    An array may be packed, and unpack to gigabytes.

    Raises:
        ValueError: An array of a layer is of another type than the model's, or all of them are too large.
    """
    arrays: dict[str, Any] = {}
    file.visititems(lambda name, entry: arrays.update({name: entry}) if isinstance(entry, h5py.Dataset) else None)
    unpacked = sum(array.nbytes for array in arrays.values())
    if unpacked > MAX_UNPACKED:
        raise ValueError(f"{unpacked:,} bytes when unpacked; at most {MAX_UNPACKED:,} are read")
    dtype = model.layers[-1].variable_dtype
    for name, array in arrays.items():
        if name.startswith("layers/") and array.dtype != dtype and array.dtype.kind != "u":  # dropout's generators
            raise ValueError(f"{name} is {array.dtype}, expected {dtype}")
