"""`python -m keras_impl fit|predict|export`: the tutorial's steps, with Keras's own progress display."""

from pathlib import Path
from typing import Any

import jsonargparse

from keras_impl import backend, export
from pictures.classify import Images, Probabilities, add_options, predict_pictures
from recipe import Recipe
from recipe.datasets import load
from recipe.errors import RecordError, errors_are_one_line
from recipe.initial_weights import Weights


def parser() -> jsonargparse.ArgumentParser:
    """The command line, one subcommand a job."""
    fit_parser = jsonargparse.ArgumentParser(description="Train the network, validate it after every epoch, test it.")
    fit_parser.add_argument("--config", action="config", help="A YAML file with any of these options.")
    fit_parser.add_class_arguments(Recipe, "recipe", skip={"images"})
    _add_backend(fit_parser)
    fit_parser.add_argument("--device", type=backend.Device, default="auto", help="Where to compute.")
    fit_parser.add_argument(
        "--checkpoints",
        type=Path | None,
        default=None,
        help="Directory for last.keras and best.keras; after a kill, the same command goes on from the last.",
    )
    fit_parser.add_argument(
        "--logs",
        type=Path | None,
        default=Path("keras_logs"),
        help="Directory of the curves for TensorBoard and of metrics.csv, a version_N for each run; null keeps none.",
    )
    predict_parser = jsonargparse.ArgumentParser(description="Say which digit each picture shows, on the CPU.")
    add_options(predict_parser)
    _add_backend(predict_parser)
    main_parser = jsonargparse.ArgumentParser(prog="python -m keras_impl", description="The MNIST network in Keras 3.")
    commands = main_parser.add_subcommands()
    for name, subparser in (("fit", fit_parser), ("predict", predict_parser), ("export", export.parser())):
        commands.add_subcommand(name, subparser, help=subparser.description)
    return main_parser


def _add_backend(options: jsonargparse.ArgumentParser) -> None:
    options.add_argument("--keras.backend", type=backend.Backend, default="tensorflow", help="Keras's backend.")


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


def predict(options: Any) -> None:
    """Says which digit each picture shows."""

    def network(recipe: Recipe, weights: Weights, images: Images) -> Probabilities:
        backend.select(options.keras.backend, "cpu", recipe)
        from keras_impl.predicting import predict_images

        return predict_images(recipe, weights, images)

    predict_pictures(options, "keras", network)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; bad input is one line on standard error and exit code 2."""
    main_parser = parser()
    options = main_parser.parse_args(arguments)
    with errors_are_one_line():
        job = {"fit": fit, "predict": predict, "export": export.run}[options.subcommand]
        job(main_parser.instantiate(options)[options.subcommand])


if __name__ == "__main__":
    main()
