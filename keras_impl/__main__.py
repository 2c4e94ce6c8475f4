"""`mnist-keras`, or `python -m keras_impl`: the tutorial's steps, with Keras's own progress display."""

from functools import partial
from pathlib import Path
from typing import Any

from command_line.table import Command, Parser, add_recipe_options, make_parser, program_name, run_command
from keras_impl import backend, export, worker
from keras_impl.convert import convert
from pictures.classify import Images, Probabilities, add_options, classify_pictures
from recipe import Recipe
from recipe.datasets import load
from recipe.errors import RecordError, errors_are_one_line
from recipe.initial_weights import Weights
from record.weights import add_convert_options, add_export_options, run_convert
from record.worker import add_contract_options, run_worker


def add_fit_options(parser: Parser) -> None:
    """Adds the options of `fit`."""
    parser.add_argument("--config", action="config", help="A YAML file with any of these options.")
    add_recipe_options(parser)
    _add_backend(parser)
    parser.add_argument("--device", type=backend.Device, default="auto", help="Where to compute.")
    parser.add_argument(
        "--checkpoints",
        type=Path | None,
        default=None,
        help="Directory for last.keras and best.keras; after a kill, the same command resumes from the last.",
    )
    parser.add_argument(
        "--logs",
        type=Path | None,
        default=Path("keras_logs"),
        help="Directory of the curves for TensorBoard and of metrics.csv, a version_N for each run; null keeps none.",
    )


def add_classify_options(parser: Parser) -> None:
    """Adds the options of `classify`."""
    add_options(parser)
    _add_backend(parser)


def add_worker_options(parser: Parser) -> None:
    """Adds the options of `worker`."""
    worker.add_device_options(parser)
    add_contract_options(parser)


def _add_backend(parser: Parser) -> None:
    parser.add_argument("--keras.backend", type=backend.Backend, default="tensorflow", help="Keras's backend.")


def fit(options: Any) -> None:
    """Builds, compiles, fits and evaluates, as the tutorial does."""
    digits = load(options.recipe)
    backend.select(options.keras.backend, options.device, options.recipe)
    from keras_impl import training
    from keras_impl.checkpoints import Checkpoints
    from keras_impl.logs import Logs

    model = training.compile_model(options.recipe)
    model.summary()
    callbacks: list[Any] = []
    epochs_done = 0
    if options.checkpoints:
        checkpoints = Checkpoints(options.checkpoints, options.recipe)
        epochs_done = checkpoints.resume(model, digits)
        callbacks.append(checkpoints)
    if options.logs:
        callbacks.insert(0, Logs(options.logs))  # an epoch that is in a checkpoint is in the logs
    try:
        training.fit(model, options.recipe, digits, callbacks=callbacks, epochs_done=epochs_done, verbose="auto")
    except RecordError:
        print(flush=True)  # ends the line of Keras's progress bar
        raise
    results = training.evaluate(model, options.recipe, digits)
    if options.logs:
        callbacks[0].write({f"test_{name}": value for name, value in results.items()}, 0)  # Lightning's step, too
    print(f"test loss {results['loss']:.4f}, test accuracy {results['accuracy']:.2%}")


def classify(options: Any) -> None:
    """Says which digit each picture shows."""

    def network(recipe: Recipe, weights: Weights, images: Images) -> Probabilities:
        backend.select(options.keras.backend, "cpu", recipe)
        from keras_impl.predicting import predict_images

        return predict_images(recipe, weights, images)

    classify_pictures(options, "keras", network)


COMMANDS = {
    "fit": Command("Train the network, validate it after every epoch, test it.", add_fit_options, fit),
    "classify": Command("Say which digit each picture shows, on the CPU.", add_classify_options, classify),
    "export": Command(
        "Write the network of a training's record to a file for other programs.",
        partial(add_export_options, formats=export.Format),
        export.run,
    ),
    "convert": Command(
        "Write weights of a record as a Keras file, or the other way round.",
        add_convert_options,
        partial(run_convert, convert),
    ),
    "worker": Command(
        "Train a recipe and leave a record, as compare asks.", add_worker_options, partial(run_worker, worker.work)
    ),
}


def parser() -> Parser:
    """The command line."""
    return make_parser(program_name("keras_impl", "mnist-keras"), "The MNIST network in Keras 3.", COMMANDS)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    with errors_are_one_line():
        run_command(parser(), COMMANDS, arguments)


if __name__ == "__main__":
    main()
