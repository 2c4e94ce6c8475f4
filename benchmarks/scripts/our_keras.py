"""The project's Keras epoch as it runs: Keras's progress bar and validation on."""

from benchmarks.scripts.clock import report
from benchmarks.scripts.our_options import our_options, recipe_of
from keras_impl import backend
from recipe.mnist import load


def main() -> None:
    """What `mnist-keras fit` does, with a clock."""
    arguments = our_options(__doc__).parse_args()
    recipe = recipe_of(arguments)
    digits = load()
    backend.select("tensorflow", arguments.device, recipe)
    # These import keras, whose backend is chosen now.
    from benchmarks.scripts.keras_clock import EpochClock
    from keras_impl import training

    clock = EpochClock()
    model = training.compile_model(recipe)
    training.fit(model, recipe, digits, callbacks=[clock], verbose="auto")
    report(clock.clock, device=backend.current_device(), threads=backend.num_threads())


if __name__ == "__main__":
    main()
