"""`python -m keras_impl fit`: the tutorial's steps at the command line, with Keras's own progress display."""

import sys
from pathlib import Path
from typing import Any

import jsonargparse

from keras_impl import backend
from recipe import Recipe, RecipeError
from recipe.mnist import DataError, load
from recipe.record_files import RecordError
from recipe.worker import BAD_INPUT, UnavailableError


def parser() -> jsonargparse.ArgumentParser:
    """The command line, one subcommand a job."""
    fit_parser = jsonargparse.ArgumentParser(description="Train the network, validate it after every epoch, test it.")
    fit_parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    fit_parser.add_class_arguments(Recipe, "recipe")
    fit_parser.add_argument("--keras.backend", type=backend.Backend, default="tensorflow", help="Keras's backend")
    fit_parser.add_argument("--device", type=backend.Device, default="auto", help="where to compute")
    fit_parser.add_argument(
        "--checkpoints",
        type=Path | None,
        default=None,
        help="directory for last.keras and best.keras; after a kill, the same command goes on from the last",
    )
    main_parser = jsonargparse.ArgumentParser(
        prog="python -m keras_impl", description="The dense MNIST network in Keras 3."
    )
    main_parser.add_subcommands().add_subcommand("fit", fit_parser)
    return main_parser


def fit(options: Any) -> None:
    """Builds, compiles, fits and evaluates, as the tutorial does."""
    digits = load()
    backend.select(options.keras.backend, options.device, options.recipe)
    from keras_impl import training  # imports keras, whose backend is chosen now
    from keras_impl.checkpoints import Checkpoints

    model = training.compile_model(options.recipe)
    model.summary()
    callbacks, epochs_done = [], 0
    if options.checkpoints:
        checkpoints = Checkpoints(options.checkpoints, options.recipe)
        epochs_done = checkpoints.resume(model, digits)
        callbacks.append(checkpoints)
    training.fit(model, options.recipe, digits, callbacks=callbacks, epochs_done=epochs_done, verbose="auto")
    results = training.evaluate(model, options.recipe, digits)
    print(f"test loss {results['loss']:.4f}, test accuracy {results['accuracy']:.2%}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    try:
        fit(main_parser.instantiate(options)["fit"])
    except (RecipeError, DataError, RecordError, UnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
