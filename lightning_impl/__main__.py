"""`python -m lightning_impl fit|validate|test|predict`: the network under the stock LightningCLI."""

import sys
from typing import Any

from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lightning_impl.data import MnistDataModule
from lightning_impl.training import DigitClassifier
from recipe import Recipe, RecipeError
from recipe.mnist import DataError
from recipe.worker import BAD_INPUT


class RecipeCLI(LightningCLI):
    """A LightningCLI whose model and data take the one recipe."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `--recipe.*`."""
        parser.add_class_arguments(Recipe, "recipe")
        parser.link_arguments("recipe", "model.recipe", apply_on="instantiate")
        parser.link_arguments("recipe", "data.recipe", apply_on="instantiate")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Trains for the recipe's epochs unless `--trainer.max_epochs` says otherwise."""
        if self._get(self.config_init, "trainer.max_epochs") is None:
            kwargs["max_epochs"] = self._get(self.config_init, "recipe").epochs
        return super().instantiate_trainer(**kwargs)


def main() -> None:
    """Runs the command line; what cannot be done is one line and exit code 2."""
    try:
        RecipeCLI(
            DigitClassifier,
            MnistDataModule,
            # The data module divides the batches among processes itself.
            trainer_defaults={"use_distributed_sampler": False},
            # A second run in the same place replaces the first one's config.yaml.
            save_config_kwargs={"overwrite": True},
        )
    except (RecipeError, DataError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
