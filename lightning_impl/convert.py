"""`python -m lightning_impl.convert FROM TO`: canonical weights <-> a checkpoint, told apart by the names' endings."""

import sys
from pathlib import Path

import lightning

from lightning_impl.checkpoints import CompleteCheckpoints, check_tensors, load_checkpoint, recipe_of
from lightning_impl.departures import in_words
from lightning_impl.module import DigitClassifier
from lightning_impl.weights import get_weights, set_weights
from recipe.errors import RecordError
from record.weights import convert_main, read_weights, write_weights


def convert(source: Path, target: Path) -> None:
    """Writes the weights of `source` to `target`, bit for bit.

    One of the two is a safetensors file with its `recipe.json` next to it, the other a checkpoint,
    which holds its recipe.

    Raises:
        RecipeError: The checkpoint names no recipe.
        RecordError: The source is damaged or not of its recipe, or the target cannot be written.
    """
    if target.suffix == ".safetensors":
        checkpoint = load_checkpoint(source)
        if checkpoint.get("departures"):
            departed = in_words(checkpoint["departures"])
            print(f"note: {source} departs from the recipe that is written next to it: {departed}", file=sys.stderr)
        module = DigitClassifier(recipe_of(checkpoint))
        try:
            check_tensors(module, checkpoint)
        except RecordError as error:
            raise RecordError(f"{source}: not of the network that its recipe names: {error}") from error
        module.load_state_dict(checkpoint["state_dict"])
        write_weights(target, module.recipe, get_weights(module.model))
    else:
        recipe, weights = read_weights(source)
        module = DigitClassifier(recipe)
        set_weights(module.model, weights)
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_model_summary=False, plugins=CompleteCheckpoints()
        )
        trainer.strategy.connect(module)
        trainer.save_checkpoint(target, weights_only=True)


if __name__ == "__main__":
    convert_main("lightning_impl", __doc__, convert)
