"""`mnist-lightning fit_seeds --seeds N --out DIRECTORY`: many seeds at once, and a record of each."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jsonargparse
import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from command_line.table import add_recipe_options
from lightning_impl.ensemble import SeedEnsemble, SeedsDataModule, check_no_dropout
from lightning_impl.recording import VERSIONS, accelerator_of, quiet_trainer, settings
from lightning_impl.weights import get_weights
from recipe import Recipe, RecipeError
from recipe.atomic import check_writable
from recipe.errors import RecordError
from record.training import HISTORY_KEYS, Status, TestResults, divergence, write_training
from record.worker import peak_memory_bytes, versions


class EnsembleRecorder(Callback):
    """Collects every member's history and step losses; a member that diverges keeps what it had until then."""

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self.histories: list[dict[str, list[float]]] = [{key: [] for key in HISTORY_KEYS} for _ in recipes]
        self.step_losses: list[list[Any]] = [[] for _ in recipes]
        self.statuses = [Status("finished") for _ in recipes]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Starts the epoch's clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Fetches the epoch's losses and metrics; validation has run by now."""
        all_losses = torch.stack(pl_module.step_losses).cpu().numpy()
        metrics = {**pl_module.metrics(""), **pl_module.metrics("val_")}
        epoch, seconds = trainer.current_epoch, time.perf_counter() - self._start
        for index, history in enumerate(self.histories):
            if self.statuses[index].outcome == "diverged":
                continue
            of_member = {key: values[index] for key, values in metrics.items()}
            losses, self.statuses[index] = divergence(
                all_losses[:, index], of_member, get_weights(pl_module.member(index).model), epoch
            )
            self.step_losses[index].append(losses)
            if self.statuses[index].outcome == "finished":
                for key, value in {**of_member, "seconds": seconds}.items():
                    history[key].append(value)
        trainer.should_stop = all(status.outcome == "diverged" for status in self.statuses)
        mean = sum(metrics["val_accuracy"]) / len(self.statuses)
        print(f"epoch {epoch + 1} of {trainer.max_epochs}: {seconds:.1f} s, mean validation accuracy {mean:.2%}")


def fit_seeds(recipes: Sequence[Recipe], directories: Sequence[Path], *, accelerator: str) -> None:
    """Trains all recipes at once and writes a record of each; all share the process, its time and its memory."""
    start = time.perf_counter()
    recorder = EnsembleRecorder(recipes)
    trainer = quiet_trainer(accelerator, recorder, max_epochs=recipes[0].epochs, num_sanity_val_steps=0)
    ensemble, digits = SeedEnsemble(recipes), SeedsDataModule(recipes)
    trainer.fit(ensemble, digits)
    live_settings = settings(trainer, ensemble.member(0))
    trainer.test(ensemble, digits, verbose=False)
    metrics = ensemble.metrics("test_")
    predictions: Any = trainer.predict(ensemble, digits)
    probabilities = torch.cat(predictions, dim=1).cpu().numpy()
    for index, (recipe, directory) in enumerate(zip(recipes, directories, strict=True)):
        status = recorder.statuses[index]
        test = TestResults(metrics["test_loss"][index], metrics["test_accuracy"][index], probabilities[index])
        write_training(
            directory,
            recipe=recipe,
            framework="lightning",
            versions=versions(*VERSIONS),
            backend="torch",
            device="cpu" if ensemble.device.type == "cpu" else "gpu",
            threads=torch.get_num_threads(),
            settings=live_settings,
            history=recorder.histories[index],
            test=test if status.outcome == "finished" else None,
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory_bytes(),
            status=status,
            step_losses=np.concatenate(recorder.step_losses[index]),
            weights=get_weights(ensemble.member(index).model),
        )


def add_options(parser: jsonargparse.ArgumentParser) -> None:
    """Adds the options of `fit_seeds`."""
    parser.add_argument("--config", action="config", help="A YAML file with any of these options.")
    add_recipe_options(parser)
    parser.add_argument("--seeds", type=int, default=8, help="How many seeds, from recipe.seed on.")
    parser.add_argument("--out", type=Path, required=True, help="Where the records seed-0, seed-1, ... appear.")
    parser.add_argument("--device", type=Literal["auto", "cpu", "gpu"], default="auto", help="Where to compute.")


def run(options: Any) -> None:
    """Trains as the options say, and says where the records are."""
    if options.seeds < 1:
        raise RecipeError(f"--seeds must be 1 or more, not {options.seeds}")
    check_no_dropout(options.recipe)
    seeds = range(options.recipe.seed, options.recipe.seed + options.seeds)
    recipes = [dataclasses.replace(options.recipe, seed=seed) for seed in seeds]
    directories = [options.out / f"seed-{seed}" for seed in seeds]
    accelerator = accelerator_of(options.device)
    check_writable(options.out)
    if there := [str(directory) for directory in directories if directory.exists()]:
        raise RecordError(f"--out: {there[0]} is there already; name another directory, or delete it")
    fit_seeds(recipes, directories, accelerator=accelerator)
    print("\n".join(map(str, directories)))
