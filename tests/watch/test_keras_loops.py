"""What the watcher sees of Keras scripts with loops of their own."""

from pathlib import Path

import numpy as np
import pytest

from tests.watch.keras_runs import watch

TAPE = """
    import keras
    import numpy as np
    import tensorflow as tf

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(4)
            self.blocks = [keras.layers.Dense(4, activation="tanh")]
            self.head = keras.layers.Dense(2)

        def call(self, x):
            x = tf.nn.relu(self.first(x))
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    keras.utils.set_random_seed(0)  # else all four units of the ReLU are dead once in 200 runs
    x = np.random.rand(64, 3).astype("float32")
    y = np.random.rand(64, 2).astype("float32")
    model = Net()
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(y - model(x, training=True))) * tf.constant(2.0)
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, model.trainable_variables), 1e-3)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    for epoch in range(4):
        for start in range(0, 64, 8):
            step(x[start:start + 8], y[start:start + 8])
"""


def test_a_loop_with_a_tape(tmp_path: Path) -> None:
    seen = watch(tmp_path / "tape", TAPE)
    document = seen.document
    assert document["status"]["outcome"] == "observed", document["status"]
    assert [layer["attribute"] for layer in document["model"]["layers"]] == ["first", "blocks[0]", "head"]
    called = [call["layer"] or call["function"] for call in document["calls"][0]]
    assert called == ["dense", "relu", "dense_1", "dense_2"]
    assert document["calls"][0][1]["place"]["code"] == "x = tf.nn.relu(self.first(x))"
    output = seen.array(seen.call("dense_2")["outputs"][0])
    assert output.dtype == np.float64
    of_loss = document["loss_calls"][0]
    assert [call["function"] for call in of_loss] == ["sub", "square", "reduce_mean", "mul"]
    assert seen.call("dense_2")["outputs"][0] in of_loss[0]["inputs"]
    assert float(seen.array(of_loss[-1]["outputs"][0])) == document["losses"][0]["value"]
    update = document["updates"][0]
    raw = np.concatenate([seen.array(key).ravel() for key in update["raw_gradients"].values()])
    clipped = np.concatenate([seen.array(key).ravel() for key in update["gradients"].values()])
    assert np.linalg.norm(clipped) == pytest.approx(1e-3, rel=1e-6)
    np.testing.assert_allclose(clipped, raw * 1e-3 / np.linalg.norm(raw), rtol=1e-6)
    assert document["loop"]["clip"][0]["function"] == "clip_by_global_norm"
    assert [update["learning_rate"] for update in document["updates"]] == pytest.approx([0.01, 0.005, 0.0025])
    rates = document["loop"]["rates"]
    assert rates["per"] == "step"
    assert rates["values"][:6] == pytest.approx([0.01 * 0.5**step for step in range(6)])  # ExponentialDecay's
    assert document["data"]["epochs"]["value"] == 4


def test_a_loop_of_torchs_on_kerass_torch_backend(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "torch",
        """
        import os
        os.environ["KERAS_BACKEND"] = "torch"
        import keras
        import torch
        from torch.utils.data import DataLoader, TensorDataset
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(),
                                  keras.layers.Dense(2)])
        loader = DataLoader(TensorDataset(torch.arange(96.0).reshape(32, 3), torch.arange(32) % 2), 8, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x, training=True), y).backward()
            optimizer.step()
    """,
    )
    document = seen.document
    assert document["backend"] == "torch"
    assert document["steps"] == 3
    assert document["optimizer"]["settings"]["weight_decay"] == 0.01
    assert document["losses"][0]["terms"][0]["function"] == "cross_entropy"
    update = document["updates"][0]
    moved = seen.array(update["parameters_before"]["dense/kernel"]) * (1 - 0.001)
    moved = moved - 0.1 * seen.array(update["raw_gradients"]["dense/kernel"])
    np.testing.assert_allclose(seen.array(update["parameters_after"]["dense/kernel"]), moved, rtol=1e-10)
    assert np.any(seen.array(update["parameters_after"]["batch_normalization/moving_mean"]))
    assert document["data"]["permutations"][0]["function"] == "RandomSampler"


def test_a_stateless_loop_in_jax(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "jax",
        """
        import os
        os.environ["KERAS_BACKEND"] = "jax"
        import jax
        import keras
        import numpy as np
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(),
                                  keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

        def loss(trainable, fixed, x, y):
            found, fixed = model.stateless_call(trainable, fixed, x, training=True)
            return keras.losses.MeanSquaredError()(y, found), fixed

        @jax.jit
        def step(trainable, fixed, held, x, y):
            (value, fixed), gradients = jax.value_and_grad(loss, has_aux=True)(trainable, fixed, x, y)
            trainable, held = optimizer.stateless_apply(held, gradients, trainable)
            return trainable, fixed, held

        state = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        for _ in range(5):
            state = step(*state, np.random.rand(8, 3), np.random.rand(8, 1))
    """,
    )
    document = seen.document
    assert document["status"]["outcome"] == "observed", document["status"]
    update = document["updates"][1]
    moved = seen.array(update["parameters_before"]["dense/kernel"]) - 0.1 * seen.array(
        update["raw_gradients"]["dense/kernel"]
    )
    np.testing.assert_allclose(seen.array(update["parameters_after"]["dense/kernel"]), moved, rtol=1e-6)
    mean = "batch_normalization/moving_mean"
    assert update["parameters_before"][mean] != update["parameters_after"][mean]
    assert len(document["evaluation_calls"]) == 3


def test_accumulated_gradients_make_one_step(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "accumulated",
        """
        import keras
        import numpy as np
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), loss="mse")
        model.fit(np.random.rand(32, 3), np.random.rand(32, 1), batch_size=4, epochs=2)
    """,
        steps=2,
    )
    document = seen.document
    assert document["loop"]["backward"] == [2, 2]
    assert len(document["losses"][0]["backward_values"]) == 2
    assert len(document["fed"][0]["further"]) == 1
    assert [call["forward"] for call in document["calls"][0]] == [0, 1]


def test_a_model_that_is_only_used(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "used",
        """
        import keras

        def build():
            return keras.Sequential([keras.Input((4, 4, 4, 2)), keras.layers.Conv3D(3, 2, activation="relu"),
                                     keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(2)])

        if __name__ == "__main__":
            raise SystemExit("is not run")
    """,
        attribute="build",
    )
    document = seen.document
    assert (document["status"]["outcome"], document["steps"]) == ("observed", 0)
    assert seen.array(document["fed"][0]["inputs"][0]).shape == (2, 4, 4, 4, 2)
    assert [call["layer"] for call in document["evaluation_calls"]] == [
        "conv3d",
        "batch_normalization",
        "flatten",
        "dense",
    ]
    outputs = [calls[1]["outputs"][0] for calls in (document["evaluation_calls"], document["calls"][0])]
    assert not np.allclose(seen.array(outputs[0]), seen.array(outputs[1]))  # the batch's own statistics in training


def test_a_script_that_fails_says_where(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "failed",
        """
        import keras
        model = keras.Sequential([keras.layers.Dense(1)])
        open("missing.csv")
    """,
    )
    assert seen.document["status"]["outcome"] == "failed"
    assert "missing.csv" in seen.document["status"]["message"]
    assert seen.document["status"]["place"]["line"] == 4


def test_a_script_without_steps_says_so(tmp_path: Path) -> None:
    assert watch(tmp_path / "idle", "import keras").document["status"]["outcome"] == "no_steps"


def test_two_optimizers_that_share_a_loss_make_one_step(tmp_path: Path) -> None:
    source = TAPE.replace(
        "optimizer = keras", "other = keras.optimizers.SGD(0.1)\n    optimizer = keras"
    ).replace(
        "        optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n",
        "        optimizer.apply(gradients[:4], model.trainable_variables[:4])\n"
        "        other.apply(gradients[4:], model.trainable_variables[4:])\n",
    )  # fmt: skip
    document = watch(tmp_path / "two", source).document
    updates = document["updates"]
    assert [update["optimizer"] for update in updates] == [0, 0, 0]
    assert [len(update["gradients"]) for update in updates] == [6, 6, 6]
    assert all(update["parameters_after"][path] != update["parameters_before"][path] for update in updates
               for path in update["gradients"])  # fmt: skip
    assert [update["rates"][1] for update in updates] == pytest.approx([0.1] * 3)
    assert [group["class"] for group in document["optimizer"]["groups"]] == ["Adam", "SGD"]
