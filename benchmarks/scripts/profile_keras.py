"""Where the time of a Keras epoch goes, on one thread of the CPU: `python -m benchmarks.scripts.profile_keras`.

A step cannot be looked into from Python, so parts are taken away and the epoch is timed again: the
difference is the part. The variants take turns; of several epochs of each that with the least CPU time counts.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks.scripts.clock import options
from keras_impl import backend
from recipe import Recipe
from recipe.mnist import load

Call = Callable[[], object]


def variants(recipe: Recipe) -> dict[str, Call]:
    """An epoch in full, and with less and less of it."""
    import tensorflow as tf

    from keras_impl import data, metrics, training

    digits = load()
    validation = {
        "validation_data": data.preprocess(digits.x_test, digits.y_test, recipe),
        "validation_batch_size": data.EVALUATION_BATCH_SIZE,
    }
    x, y = data.preprocess(digits.x_train[: recipe.batch_size], digits.y_train[: recipe.batch_size], recipe)
    one_batch = (tf.constant(x), tf.constant(y))
    num_steps = data.OrderedBatches(recipe, digits.x_train, digits.y_train).num_batches

    def model() -> Any:
        compiled = training.compile_model(recipe)
        compiled.step_losses = metrics.StepLosses(num_steps)
        return compiled

    def without_losses() -> Any:
        compiled = model()
        compiled.step_losses = _Nowhere()
        return compiled

    compiled_loop = without_losses()

    @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def steps() -> None:
        for _ in tf.range(num_steps):
            compiled_loop.train_step(one_batch)

    def fit(compiled: Any, *, gathers: bool, **options: Any) -> Call:
        batches = data.OrderedBatches(recipe, digits.x_train, digits.y_train)
        if not gathers:
            batches.batch = lambda _: one_batch
        return lambda: compiled.fit(batches.dataset, shuffle=False, verbose=0, callbacks=[batches], **options)

    return {
        "whole": fit(model(), gathers=True, **validation),
        "without validation": fit(model(), gathers=True),
        "without gathering": fit(model(), gathers=False),
        "without recording": fit(without_losses(), gathers=False),
        "compiled loop": steps,
    }


class _Nowhere:
    """Takes the losses of steps and forgets them."""

    def update_state(self, loss: Any) -> None:
        """Does nothing."""


def seconds(calls: dict[str, Call], repetitions: int) -> dict[str, float]:
    """The least CPU time of each call, after a warm-up, the calls taking turns; small differences drown on the wall."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + repetitions):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: min(found[1:]) for name, found in times.items()}


def parts(found: dict[str, float]) -> dict[str, float]:
    """What an epoch consists of, in CPU seconds."""
    without_gathering, without_both = found["without gathering"], found["without recording"]
    return {
        "the step alone, all of an epoch in one loop compiled by XLA": found["compiled loop"],
        "beyond that, as TensorFlow takes steps on a CPU: operation by operation": without_both
        - found["compiled loop"],
        "recording the losses of the steps": without_gathering - without_both,
        "gathering the batches": found["without validation"] - without_gathering,
        "validation, set up anew": found["whole"] - found["without validation"],
        "the whole epoch": found["whole"],
    }


def main() -> None:
    """Measures and prints a line of JSON."""
    parser = options(__doc__)
    parser.set_defaults(epochs=3)
    arguments = parser.parse_args()
    recipe = Recipe(epochs=1)
    backend.select("tensorflow", arguments.device, recipe)
    print(json.dumps(parts(seconds(variants(recipe), arguments.epochs))))


if __name__ == "__main__":
    main()
