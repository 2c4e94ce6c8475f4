"""Checkpoints of a training: Lightning's own, from which `--ckpt_path last` resumes after a kill."""

import io
import pickle  # its exception only
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_impl.departures import Departures, check_resumes, departures, in_words, note_departures
from recipe import Recipe, RecipeError
from recipe.atomic import complete_or_absent
from recipe.errors import RecordError, as_one_line
from recipe.plain_file import check_archive


def checkpoint_callbacks(directory: str | None) -> list[ModelCheckpoint]:
    """`best.ckpt`, by validation accuracy, and `last.ckpt`, written in this order after every epoch.

    Two callbacks, because one with `save_last` writes its last checkpoint only when the best one changes
    (`on_train_epoch_end` in lightning/pytorch/callbacks/model_checkpoint.py).

    Args:
        directory: Where the files are or will be; None is where the logs are.
    """
    common: dict[str, Any] = {"dirpath": directory, "enable_version_counter": False, "save_on_train_epoch_end": True}
    return [
        ModelCheckpoint(filename="best", monitor="val_accuracy", mode="max", **common),
        ModelCheckpoint(filename="last", **common),
    ]


class KeepsRecipe(lightning.LightningModule):
    """A module whose checkpoints hold its recipe, and what departed from it.

    Args:
        recipe: What is trained.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.departures: Departures = {}
        self._begun: dict[str, Any] | None = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes the recipe into the checkpoint, and what of the training is not the recipe's."""
        checkpoint["recipe"] = self.recipe.to_json()
        checkpoint["departures"] = self.departures

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses a checkpoint of another recipe before anything of it is used."""
        fits = self.trainer.state.fn == TrainerFn.FITTING
        check_recipe(self.recipe, checkpoint, resumes=fits)
        check_tensors(self, checkpoint)
        if fits:
            self._begun = checkpoint
        elif checkpoint.get("departures"):
            rank_zero_info(f"The checkpoint departs from its recipe: {in_words(checkpoint['departures'])}.")

    def on_fit_start(self) -> None:
        """Notes what departs from the recipe; refuses to resume from a checkpoint that departs otherwise."""
        self.departures = departures(self.recipe, self.trainer)
        if self._begun:
            check_resumes(self.departures, self.trainer, self._begun)
            self._begun = None
        note_departures(self.departures, self.trainer)


_HANDED_BACK = ".temp.ckpt"
"""The file in which a process that Lightning forked hands back its weights (`_MultiProcessingLauncher`)."""


class CompleteCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint next to its place and renames it, so that it is complete or absent.

    Lightning's own writes it to the system's temporary directory and moves it; from another file
    system that is a copy, which a kill leaves half done.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves the checkpoint to a local file; leaves addresses such as s3:// to Lightning."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            save_checkpoint(Path(path), checkpoint)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Reads a checkpoint, a local one by `load_checkpoint`."""
        if "://" in str(path) or Path(path).name == _HANDED_BACK:
            return super().load_checkpoint(path, *arguments, **options)
        return load_checkpoint(Path(path))


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Writes a checkpoint file, complete or not at all.

    Raises:
        RecordError: It cannot be written, on a full disk for one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Straight to a file that a full disk cuts short, torch.save says "unexpected pos 4736 vs 4630".
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    with complete_or_absent(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint file as tensors and plain values, never unpickled.

    Raises:
        RecordError: It cannot be read, holds anything else, or is not a checkpoint.
    """
    check_archive(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RecordError(
            f"{path}: the checkpoint holds more than tensors and plain values, and is not loaded"
        ) from error
    except Exception as error:
        raise RecordError(f"{path}: the checkpoint cannot be read: {as_one_line(error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise RecordError(f"{path}: expected a checkpoint of Lightning's, found something else")
    return checkpoint


def check_tensors(module: lightning.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Holds a checkpoint's tensors against the module's: torch would round another type to the module's in silence.

    Raises:
        RecordError: One is missing, unexpected, or of another shape or type.
    """
    expected, found = module.state_dict(), checkpoint["state_dict"]
    for name in expected.keys() ^ found.keys():
        raise RecordError(f"the checkpoint's tensor {name} is {'missing' if name in expected else 'unexpected'}")
    for name, tensor in expected.items():
        wanted, value = _kind_of(tensor), found[name]
        kind = _kind_of(value) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        if kind != wanted:
            raise RecordError(f"the checkpoint's tensor {name} is {kind}, expected {wanted}")


def _kind_of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def recipe_of(checkpoint: dict[str, Any]) -> Recipe:
    """The recipe that `DigitClassifier` wrote into a checkpoint.

    Raises:
        RecipeError: There is none, or it is not valid.
    """
    if not isinstance(checkpoint.get("recipe"), str):
        raise RecipeError("the checkpoint names no recipe: it was not written by lightning_impl")
    return Recipe.from_json(checkpoint["recipe"])


def check_recipe(recipe: Recipe, checkpoint: dict[str, Any], *, resumes: bool) -> None:
    """Refuses a checkpoint of another recipe.

    Args:
        recipe: The recipe to resume with.
        checkpoint: As `DigitClassifier` wrote it.
        resumes: Whether a training is resumed; else only the network has to be the same.

    Raises:
        RecipeError: The recipes differ, and how; or the checkpoint is none of this network's.
    """
    begun = recipe_of(checkpoint)
    if resumes:
        recipe.check_continues(begun, "the checkpoint")
        if "optimizer_states" not in checkpoint:
            raise RecipeError("the checkpoint holds weights alone, from which a training cannot go on")
    for name in ("network", *(["filters"] if begun.network == "cnn" else []), "hidden_sizes", "dtype"):
        asked, found = getattr(recipe, name), getattr(begun, name)
        if asked != found:
            raise RecipeError(f"the checkpoint's {name} is {found}, the recipe's {asked}: set --recipe.{name}")
    asked, found = (
        f"{images.num_classes} classes of {'×'.join(map(str, images.image_shape))} pixels"
        for images in (recipe.images, begun.images)
    )
    if asked != found:
        raise RecipeError(f"the checkpoint is of {found}, the recipe's images of {asked}: set --recipe.dataset")
