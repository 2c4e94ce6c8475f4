"""`python -m keras_impl.convert FROM TO`: canonical weights <-> a Keras file, told apart by the names' endings."""

from pathlib import Path

from keras_impl import backend
from recipe.atomic import complete_or_absent
from recipe.errors import RecordError
from record.files import read_recipe
from record.weights import convert_main, read_weights, write_recipe, write_weights


def convert(source: Path, target: Path) -> None:
    """Writes the weights of `source` to `target`, bit for bit.

    One of the two is a safetensors file, the other ends in `.keras` or `.weights.h5`. Each has its
    `recipe.json` next to it; that of the target is written.

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
    if not target.name.endswith((".keras", ".weights.h5")):
        raise RecordError(f"{target}: the name must end in .keras, .weights.h5 or .safetensors")
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


if __name__ == "__main__":
    convert_main("keras_impl", __doc__, convert)
