"""Traces of many clean recipes in one process: `python -m tests.compare.fuzz WORKER ARCHIVE DIRECTORY FIRST COUNT`.

Starting a framework takes longer than ten steps of a small network, so each starts once.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recipe import Recipe
from recipe.datasets import load, with_images
from record.first_steps import Trace, write_trace


def fuzz_recipe(seed: int, dataset: str) -> Recipe:
    """A recipe drawn from all that there are: 0 to 20 layers, batches of 1 and 2, learning rates up to 0.3."""
    random = np.random.default_rng(seed)
    widest = int(random.choice([4, 40, 600]))
    num_layers = int(random.choice([0, 1, 2, 3, random.integers(4, 21)]))
    fields = {
        "dataset": dataset,
        "network": str(random.choice(["dense", "dense", "dense", "cnn"])),
        # With one filter torch's convolution refuses the gradient that Keras gives it.
        "filters": [max(2, int(n)) for n in random.integers(1, 9, 2)],
        "hidden_sizes": [int(n) for n in random.integers(1, widest + 1, num_layers)],
        "dropout": float(random.choice([0, 0, 0.1, 0.5])),
        "dropout_masks": str(random.choice(["shared", "framework"])),
        "dtype": str(random.choice(["float32", "float64"])),
        "batch_size": int(random.choice([1, 2, 32, random.integers(3, 100)])),
        "learning_rate": float(10 ** random.uniform(-5, np.log10(0.3))),
        "beta_1": float(random.choice([0.9, 0.9, 0.0, 0.5, 0.99])),
        "beta_2": float(random.choice([0.999, 0.999, 0.9, 0.9999])),
        "epsilon": float(10 ** random.uniform(-10, -3)),
        "seed": seed,
    }
    return with_images(Recipe.from_fields(fields))


def tracer(worker: str) -> Callable[[Recipe], Trace]:
    """What the worker of this name does with a recipe."""
    if worker == "lightning":
        from lightning_impl.first_steps import trace as of_lightning

        return lambda recipe: of_lightning(recipe, accelerator="cpu")

    def of_keras(recipe: Recipe) -> Trace:
        from keras_impl import backend

        backend.select(worker.removeprefix("keras-"), "cpu", recipe)
        import keras

        from keras_impl.first_steps import trace

        keras.backend.clear_session()
        return trace(recipe, load(recipe))

    return of_keras


def main(worker: str, archive: str, directory: str, first: str, count: str) -> None:
    trace = tracer(worker)
    for seed in range(int(first), int(first) + int(count)):
        write_trace(Path(directory) / f"{worker}-{seed}", trace(fuzz_recipe(seed, archive)))


if __name__ == "__main__":
    main(*sys.argv[1:])
