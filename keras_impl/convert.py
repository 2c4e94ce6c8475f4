"""`python -m keras_impl.convert FROM TO`: canonical weights <-> a Keras file, told apart by the names' endings."""

import argparse
from pathlib import Path

from keras_impl import backend
from recipe.record_files import read_recipe
from recipe.weight_files import check_absent, complete_or_absent, read_weights, write_recipe, write_weights
from recipe.worker import bad_input_is_one_line


def convert(source: Path, target: Path) -> None:
    """Writes the weights of `source` to `target`, bit for bit.

    One of the two is a safetensors file, the other ends in `.keras` or `.weights.h5`. Each has its
    `recipe.json` beside it; that of the target is written.

    Raises:
        RecordError: The source is damaged or not of its recipe, or the target cannot be written.
    """
    recipe = read_recipe(source.parent)
    backend.select("tensorflow", "cpu", recipe)
    # These import keras, whose backend is chosen now.
    from keras_impl.checkpoints import load_weights, save_checkpoint
    from keras_impl.model import build_model
    from keras_impl.training import compile_model
    from keras_impl.weights import get_weights, set_weights

    if target.suffix == ".safetensors":
        model = build_model(recipe)
        load_weights(source, model)
        write_weights(target, recipe, get_weights(model))
        return
    _, weights = read_weights(source)
    write_recipe(target.parent, recipe)
    if target.suffix == ".keras":  # a compiled model, ready to train on, with the optimizer at its beginning
        compiled = compile_model(recipe)
        set_weights(compiled, weights)
        save_checkpoint(target, compiled)
    else:
        model = build_model(recipe)
        set_weights(model, weights)
        with complete_or_absent(target) as partial:
            model.save_weights(partial)


def main() -> None:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m keras_impl.convert", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    with bad_input_is_one_line():
        check_absent(options.target)
        convert(options.source, options.target)


if __name__ == "__main__":
    main()
