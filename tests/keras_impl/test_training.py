from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recipe import Recipe
from recipe.initial_weights import initial_weights, perturbed

InKeras = Callable[..., dict[str, Any]]

PROBE = """
from keras_impl.training import compile_model
from keras_impl.weights import get_weights, set_weights
model = compile_model(recipe)
adam, loss = model.optimizer, model.loss
out = get_weights(model)
out |= {'adam': [float(adam.learning_rate), adam.beta_1, adam.beta_2, adam.epsilon],
        'from_logits': loss.from_logits, 'softmax': model.layers[-1].activation.__name__,
        'activations': [layer.activation.__name__ for layer in model.layers], 'class': type(loss).__name__}
random = np.random.default_rng(0)
set_to = {name: random.normal(size=array.shape).astype(recipe.dtype) for name, array in get_weights(model).items()}
set_weights(model, set_to)
again = get_weights(model)
out['came_back'] = all(np.array_equal(again[name], set_to[name]) for name in set_to)
out['kernel'] = np.array_equal(model.layers[0].kernel.numpy() if hasattr(model.layers[0].kernel, 'numpy')
                               else np.asarray(model.layers[0].kernel.value), set_to['hidden_1.kernel'])
out['loaded'] = sorted({'torch', 'tensorflow', 'jax'} & {name for name, module in sys.modules.items() if module})
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
@pytest.mark.parametrize("preset", ["aligned", "native"])
def test_compiled_model_is_the_recipes(in_keras: InKeras, backend: str, preset: str) -> None:
    recipe = Recipe(preset=preset, dtype="float64", perturbation=1)
    out = in_keras(PROBE, backend=backend, preset=preset, dtype="float64", perturbation=1)
    betas = [0.8999999761581421, 0.9990000128746033] if preset == "aligned" else [0.9, 0.999]
    assert out["adam"].tolist() == [1e-3, *betas, 1e-7]
    assert out["class"] == "CategoricalCrossentropy"
    logits = preset == "aligned" and backend != "tensorflow"
    assert out["from_logits"] == logits
    assert out["activations"].tolist() == ["relu"] * 3 + ["linear" if logits else "softmax"]
    assert out["came_back"]
    assert out["kernel"]
    # The other backends are blocked: two frameworks in one process crash or hang.
    assert out["loaded"].tolist() == [backend]
    if preset == "aligned":
        for name, array in initial_weights(recipe).items():
            assert out[name].dtype == array.dtype
            assert np.array_equal(out[name], array)
    else:
        assert not out["hidden_1.bias"].any()
        assert not np.array_equal(out["hidden_1.kernel"], initial_weights(recipe)["hidden_1.kernel"])


def test_own_weights_follow_the_seed_and_are_perturbed(in_keras: InKeras) -> None:
    code = "from keras_impl.training import compile_model\nfrom keras_impl.weights import get_weights\n"
    code += "out = get_weights(compile_model(recipe))"
    plain = in_keras(code, preset="native", seed=1)
    other = in_keras(code, preset="native", seed=2)
    moved = in_keras(code, preset="native", seed=1, perturbation=5)
    expected = perturbed(plain, Recipe(perturbation=5))
    assert all(np.array_equal(moved[name], expected[name]) for name in plain)
    assert not np.array_equal(plain["output.kernel"], other["output.kernel"])


BOTH_WAYS = """
from keras_impl import training
from keras_impl.weights import get_weights
from recipe.mnist import load
out = {}
for steps in (4, 1):
    training.STEPS_PER_EXECUTION[keras.backend.backend()] = steps
    model = training.compile_model(recipe)
    training.fit(model, recipe, load(), callbacks=[])
    found = {**model.history.history, **get_weights(model)}
    found['step_losses'] = np.asarray(keras.ops.convert_to_numpy(model.step_losses.losses))
    out |= {f'{name} {steps}': values for name, values in found.items()}
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_steps_per_execution_change_no_bit(in_keras: InKeras, backend: str) -> None:
    # 9 steps an epoch, the last batch smaller: blocks of 4, 4 and 1. Keras refuses blocks on torch.
    out = in_keras(BOTH_WAYS, backend=backend, batch_size=7000, epochs=2, hidden_sizes=[16])
    names = {name.partition(" ")[0] for name in out}
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "step_losses", "hidden_1.kernel"} <= names
    assert out["step_losses 4"].shape == (9,)
    for name in names:
        assert np.array_equal(out[f"{name} 4"], out[f"{name} 1"]), name
