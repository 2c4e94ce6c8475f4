"""A Keras script steered by what another backend was seen to do: what is left is what the frameworks differ by."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.watch.keras_runs import Seen, watch

SCRIPT = """
    import keras
    import numpy as np
    x = np.random.rand(48, 8, 8, 1).astype("float32")
    y = np.random.randint(0, 3, 48)
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    ])
    model.compile(keras.optimizers.SGD(0.125), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=16, epochs=3)
"""


def plan(directory: Path, seen: Seen) -> None:
    """Writes a plan that repeats what was seen."""

    def calls(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: call[key] for key in ("layer", "occurrence", "inputs", "outputs")} for call in found]

    document = seen.document
    steps = [
        {
            "parameters": update["parameters_before"], "inputs": fed["inputs"], "targets": fed["targets"],
            "gradients": update["raw_gradients"], "calls": calls(found),
        }
        for update, fed, found in zip(document["updates"], document["fed"], [*document["calls"], []], strict=True)
    ]  # fmt: skip
    directory.mkdir()
    save_file(seen.arrays, directory / "plan.safetensors")
    (directory / "plan.json").write_text(json.dumps({
        "parameters": document["initial"]["parameters"], "steps": steps, "zero_dropout": True,
        "evaluation": {"calls": calls(document["evaluation_calls"])},
    }))  # fmt: skip


BUILT_IN_THE_FIRST_STEP = SCRIPT.replace("keras.Input((8, 8, 1)),", "")


@pytest.mark.parametrize(
    ("backend", "script"),
    [("torch", SCRIPT), ("jax", SCRIPT), ("jax", BUILT_IN_THE_FIRST_STEP)],
    ids=["torch", "jax", "jax, built in the first step"],
)
def test_another_backend_steered_by_tensorflow_computes_the_same(backend: str, script: str, tmp_path: Path) -> None:
    reference = watch(tmp_path / "reference", SCRIPT)
    plan(tmp_path / "plan", reference)
    steered = watch(tmp_path / "steered", script, backend, plan=str(tmp_path / "plan"))
    found, expected = steered.document, reference.document
    assert found["status"]["outcome"] == "observed", found["status"]
    for name in ("calls", "evaluation_calls"):
        pairs = zip(found[name], expected[name], strict=True)
        for ours, theirs in [(a, b) for c, d in pairs for a, b in zip(c, d, strict=True)] if name == "calls" else pairs:
            np.testing.assert_allclose(
                steered.array(ours["outputs"][0]), reference.array(theirs["outputs"][0]), rtol=0, atol=1e-12
            )
    for step in range(3):
        assert found["losses"][step]["value"] == pytest.approx(expected["losses"][step]["value"], abs=1e-12)
        for part in ("raw_gradients", "parameters_after"):
            for path, key in expected["updates"][step][part].items():
                # The momentum of the running statistics goes through float32 on one side.
                tolerance = 1e-7 if "moving" in path else 1e-12
                ours = steered.array(found["updates"][step][part][path])
                np.testing.assert_allclose(ours, reference.array(key), rtol=0, atol=tolerance, err_msg=path)
    # The script's own values are kept beside.
    assert not np.allclose(
        steered.array(found["initial"]["parameters"]["dense/kernel"]),
        reference.array(expected["initial"]["parameters"]["dense/kernel"]),
    )
