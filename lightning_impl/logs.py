"""Loss and accuracy of every epoch, for TensorBoard and as a CSV table."""

import contextlib
import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from recipe.errors import UnavailableError

PACKAGES = {
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet_ml",
    "NeptuneLogger": "neptune",
    "LitLogger": "litlogger",
}
"""Lightning's loggers, and what they need that is not installed with this package."""


def default_loggers(directory: str | Path) -> list[Logger]:
    """What `mnist-lightning` logs with unless `--trainer.logger` names something else.

    Both write to `directory/lightning_logs/version_N`, a new one for each run.
    """
    # They share the directory, which is new: there is no file of an earlier run to warn of.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    version = _slurm_version() or _new_version(TensorBoardLogger(directory))
    tensorboard = TensorBoardLogger(directory, version=version, default_hp_metric=False, flush_secs=1)
    return [tensorboard, CSVLogger(directory, version=tensorboard.version)]


def forget(loggers: Sequence[Any]) -> None:
    """Removes the directory of logs that a refused run has begun, where nothing else is in it."""
    for directory in {Path(logger.log_dir) for logger in loggers if "://" not in str(logger.log_dir)}:
        begun = ("config.yaml", "hparams.yaml", "events.out.tfevents.*")
        if directory.is_dir() and all(any(path.match(name) for name in begun) for path in directory.iterdir()):
            shutil.rmtree(directory)
            with contextlib.suppress(OSError):  # other runs have theirs beside it
                directory.parent.rmdir()


def log_epoch(loggers: Sequence[Any], epoch: int, values: dict[str, Tensor]) -> None:
    """Hands metrics to the loggers, over the number of the epoch, from 0, as Keras does.

    Lightning would write them over the number of training batches.
    """
    for logger in loggers:
        logger.log_metrics({"epoch": epoch, **{name: value.item() for name, value in values.items()}}, step=epoch)
        logger.save()


def check_installed(loggers: Any) -> None:
    """Looks for the packages that these loggers, as `--trainer.logger` names them, are made for.

    Raises:
        UnavailableError: One of them is not installed.
    """
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        name = str(getattr(logger, "class_path", "")).rpartition(".")[2]
        package = PACKAGES.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise UnavailableError(f"{name} needs {package}; install it with: pip install {package.replace('_', '-')}")


def _slurm_version() -> str | None:
    """A name of its own for each job of Slurm's and each time that it is requeued; None elsewhere.

    Lightning's default is the job's number alone, under which a requeued job would replace its table.
    """
    job = SLURMEnvironment.job_id()
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return None if job is None else f"version_{job}" + (f"_restart_{restart}" if restart != "0" else "")


@rank_zero_only
def _new_version(logger: TensorBoardLogger) -> int | None:
    """The number of the `version_N` after all that are there, which is made, for another run may be about to do so.

    The other processes of a training are told by the first.
    """
    version = int(logger.version)
    while "://" not in logger.root_dir:
        try:
            (Path(logger.root_dir) / f"version_{version}").mkdir(parents=True)
            break
        except FileExistsError:
            version += 1
    return version


class SaveConfigAndRecipe(SaveConfigCallback):
    """Hands the recipe to the loggers as the hyperparameters, next to Lightning's own `config.yaml`."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning calls this in the first process alone."""
        recipe: Any = pl_module.recipe
        for logger in trainer.loggers:
            logger.log_hyperparams(json.loads(recipe.to_json()))
