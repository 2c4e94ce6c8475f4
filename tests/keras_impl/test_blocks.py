from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL

InKeras = Callable[..., dict[str, Any]]

FAST_AND_OWN = """
from keras_impl import data, optimizer, training
from keras_impl.weights import get_weights
from recipe import datasets
training.STEPS_PER_EXECUTION['tensorflow'] = 5
digits, out = datasets.load(recipe), {}

class Seen(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.begins, self.ends, self.logs = [], [], []
    def on_train_batch_begin(self, batch, logs=None):
        self.begins.append(batch)
    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(batch)
        self.logs.append([float(logs[key]) for key in ('loss', 'accuracy')])
        self.function = self.model.train_function.__module__.partition('.')[0]

for device in ('cpu', 'gpu'):
    data.current_device = optimizer.current_device = lambda: device
    model, seen = training.compile_model(recipe), Seen()
    training.fit(model, recipe, digits, callbacks=[seen])
    results = get_weights(model) | model.history.history
    results |= {f'adam_{n}': np.array(variable) for n, variable in enumerate(model.optimizer.variables)}
    results |= {'step_losses': keras.ops.convert_to_numpy(model.step_losses.losses)}
    results |= {name: getattr(seen, name) for name in ('begins', 'ends', 'logs')}
    out |= {f'{device}/{name}': values for name, values in results.items()}
    out[f'{device}_function'] = seen.function
    out[f'{device}_update'] = '_backend_update_step' in vars(model.optimizer)
    out[f'{device}_function_is_left'] = model.train_function is not None and seen.function == 'keras_impl'
"""


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "cnn", "dropout": 0.2, "dropout_masks": "shared", "batch_order": "framework"},
        {"preset": "native", "batch_order": "shared", "dtype": "float64", "dropout": 0.2},
        {"batch_size": 7},
    ],
    ids=["masks", "native", "plain"],
)
def test_blocks_and_kernels_have_the_bits_of_keras_own(
    in_keras: InKeras, own_data: str, fields: dict[str, Any]
) -> None:
    """On a GPU both are Keras's own: `gpu` stands for that here, and computes on the CPU all the same."""
    out = in_keras(FAST_AND_OWN, dataset=own_data, **{**SMALL, **fields})
    assert (out["cpu_function"], out["gpu_function"]) == ("keras_impl", "keras")
    assert (out["cpu_update"], out["gpu_update"]) == (True, False)
    assert not out["cpu_function_is_left"]
    names = {name.removeprefix("cpu/") for name in out if name.startswith("cpu/")}
    assert names > {"output.kernel", "adam_2", "step_losses", "val_loss", "accuracy", "begins", "ends", "logs"}
    for name in names:
        assert np.array_equal(out[f"cpu/{name}"], out[f"gpu/{name}"]), name
