"""What the watcher sees of Keras scripts that train by `fit`: values are held against NumPy."""

from pathlib import Path

import numpy as np
import pytest

from tests.watch.keras_runs import Seen, watch

DENSE = """
    import keras
    import numpy as np

    keras.utils.set_random_seed(7)
    x = np.random.default_rng(0).random((96, 5)).astype("float32")
    y = np.arange(96) % 3
    model = keras.Sequential([
        keras.Input((5,)),
        keras.layers.Dense(4, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(3, activation="softmax"),
    ])
    model.compile(keras.optimizers.SGD(0.1, clipnorm=0.05), loss="sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=16, epochs=5, validation_split=0.25, class_weight={0: 1.0, 1: 2.0, 2: 0.5},
              callbacks=[keras.callbacks.EarlyStopping(patience=2),
                         keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch else rate)])
"""


@pytest.fixture(scope="module", params=["tensorflow", "torch", "jax"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return watch(tmp_path_factory.mktemp("dense"), DENSE, request.param)


def test_the_script_is_stopped_after_the_steps_asked_for(seen: Seen) -> None:
    assert seen.document["status"]["outcome"] == "observed"
    assert seen.document["steps"] == len(seen.document["losses"]) == len(seen.document["updates"]) == 3


def test_the_layers_values_are_their_arithmetic(seen: Seen) -> None:
    before = seen.document["updates"][0]["parameters_before"]
    call, last = seen.call("dense"), seen.call("dense_1")
    x = seen.array(call["inputs"][0])
    inner = x @ seen.array(before["dense/kernel"]) + seen.array(before["dense/bias"])
    np.testing.assert_allclose(seen.array(call["preactivation"]), inner, rtol=0, atol=1e-14)
    np.testing.assert_allclose(seen.array(call["outputs"][0]), np.maximum(inner, 0), rtol=0, atol=1e-14)
    assert last["inputs"] == call["outputs"]  # dropout does nothing
    assert x.dtype == np.float64
    assert seen.document["evaluation_calls"][0]["layer"] == "dense"


def test_the_loss_is_the_weighted_mean_with_its_penalty(seen: Seen) -> None:
    loss = seen.document["losses"][0]
    output = seen.array(seen.call("dense_1")["outputs"][0])
    fed = seen.document["fed"][0]
    labels, weights = seen.array(fed["targets"][0]), seen.array(fed["sample_weights"])
    picked = -np.log(output[np.arange(16), labels.astype(int)])
    np.testing.assert_allclose(weights, np.array([1.0, 2.0, 0.5])[labels.astype(int)])
    kernel = seen.array(seen.document["initial"]["parameters"]["dense/kernel"])
    penalty = 0.01 * np.sum(kernel**2)
    assert loss["penalties"][0]["value"] == pytest.approx(penalty, rel=1e-7)  # 0.01 goes through float32
    assert loss["value"] == pytest.approx(np.mean(picked * weights) + penalty, rel=1e-7)
    assert loss["terms"][0]["function"] == "sparse_categorical_crossentropy"


def test_gradients_are_kept_before_and_after_clipping(seen: Seen) -> None:
    update = seen.document["updates"][0]
    raw, clipped = seen.array(update["raw_gradients"]["dense/kernel"]), seen.array(update["gradients"]["dense/kernel"])
    norm = np.linalg.norm(raw)
    assert norm > 0.05
    np.testing.assert_allclose(clipped, raw * 0.05 / norm, rtol=1e-6)
    moved = seen.array(update["parameters_before"]["dense/kernel"]) - 0.1 * clipped
    np.testing.assert_allclose(seen.array(update["parameters_after"]["dense/kernel"]), moved, rtol=1e-6)


def test_what_fit_was_asked_for_is_noted(seen: Seen) -> None:
    data = seen.document["data"]
    assert data["fit"]["epochs"] == 5
    assert data["fit"]["batch_size"] == 16
    assert data["fit"]["shuffle"] is True
    assert data["fit"]["validation"] == {"kind": "split", "fraction": 0.25, "num_samples": 24}
    assert data["fit"]["callbacks"][0]["class"] == "EarlyStopping"
    assert data["fit"]["callbacks"][0]["settings"]["patience"] == 2
    assert data["fit"]["callbacks"][0]["place"]["code"].startswith("callbacks=[keras.callbacks.EarlyStopping(")
    assert seen.document["loop"]["rates"]["per"] == "epoch"
    assert seen.document["loop"]["rates"]["values"] == pytest.approx([0.1 * 0.5**epoch for epoch in range(5)])
    assert data["permutations"][-1]["function"] == "fit(shuffle=True)"
    assert data["permutations"][-1]["size"] == 72
    assert data["permutations"][-1]["place"]["code"].startswith("model.fit(")
    assert seen.document["seeds"] == [{"function": "keras.utils.set_random_seed", "value": 7}]


def test_dropout_is_told_though_it_does_nothing(seen: Seen) -> None:
    (dropout,) = seen.document["dropout"]
    assert (dropout["layer"], dropout["rate"], dropout["active"]) == ("dropout", 0.3, True)
    assert seen.document["calls"][0][dropout["after_call"]]["layer"] == "dense"


def test_settings_are_numbers_and_names(seen: Seen) -> None:
    dense = seen.layer("dense")
    assert dense["settings"]["activation"] == "relu"
    assert dense["settings"]["kernel_regularizer"]["class"] == "L2"
    assert dense["settings"]["kernel_initializer"]["class"] == "GlorotUniform"
    assert dense["place"]["line"] == 10
    assert seen.document["optimizer"]["class"] == "SGD"
    assert seen.document["optimizer"]["settings"]["clipnorm"] == 0.05


def test_an_own_run_keeps_the_scripts_precision_and_dropout(tmp_path: Path) -> None:
    seen = watch(tmp_path / "own", DENSE, dtype="own")
    assert seen.array(seen.call("dense")["inputs"][0]).dtype == np.float32
    assert seen.document["floatx"] == "float32"
    assert seen.call("dropout")["outputs"] != seen.call("dropout")["inputs"]


def test_a_pipeline_is_read_in_order_and_a_sparse_gradient_is_marked(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "text",
        """
        import tensorflow as tf
        from tensorflow.keras import layers, models
        words = tf.reshape(tf.range(240) % 11, (40, 6))
        Dataset = tf.data.Dataset
        parts = [Dataset.from_tensor_slices(part).shuffle(40) for part in (words, tf.range(40) % 2)]
        ds = Dataset.zip(tuple(parts)).cache().batch(8, drop_remainder=True)
        model = models.Sequential([layers.Embedding(11, 4, mask_zero=True), layers.LSTM(3), layers.Dense(1)])
        model.compile(optimizer="rmsprop", loss="mse", metrics=["accuracy"])
        model.fit(ds, epochs=2)
    """,
    )
    document = seen.document
    np.testing.assert_array_equal(seen.array(document["fed"][0]["inputs"][0]).ravel(), np.arange(48) % 11)
    # Labels that are shuffled by an order of their own are turned round in front.
    np.testing.assert_array_equal(seen.array(document["fed"][0]["targets"][0]).ravel(), [1, 0] * 4)
    (loader,) = document["data"]["loaders"]
    assert (loader["batch_size"], loader["shuffle"], loader["drop_last"]) == (8, True, True)
    first, second = document["data"]["permutations"]
    assert (first["function"], first.get("apart"), second.get("apart")) == ("tf.data.shuffle", None, True)
    stages = document["data"]["fit"]["stages"]
    assert [stage["method"] for stage in stages] == ["shuffle", "shuffle", "cache", "batch"]
    assert (stages[0]["buffer_size"], stages[0]["of"]) == (40, 40)
    assert document["updates"][0]["sparse"] == ["embedding/embeddings"]
    assert list(seen.layer("lstm")["parameters"]) == ["kernel", "recurrent_kernel", "bias"]
    assert "mask0" in seen.call("lstm")["masks"]


OWN = """
    import keras
    import numpy as np

    class Draw(keras.layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), stddev=0.5)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.draw = Draw()
            self.noise = keras.layers.GaussianNoise(0.25)
            self.each = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="relu"))

        def build(self, shape):
            drawn = lambda shape, dtype=None: keras.random.normal(shape, stddev=3.0)
            self.shift = self.add_weight(shape=(), initializer=drawn, name="shift")

        def call(self, x, training=None):
            x = self.noise(self.draw(x), training=training)
            return keras.ops.mean(self.each(x), axis=(1, 2)) + self.shift

    model = Model()
    model.compile("sgd", "mse")
    model.fit(np.random.rand(32, 4, 5), np.random.rand(32), batch_size=8)
"""


def test_a_model_of_ones_own_with_noise_and_a_layer_at_each_time_step(tmp_path: Path) -> None:
    seen = watch(tmp_path / "own", OWN)
    whole, dense = seen.call(""), seen.call("time_distributed/dense")  # built in its first call, and recorded from it
    assert seen.layer("")["parameters"].keys() == {"shift"}
    assert seen.array(seen.document["initial"]["parameters"]["shift"]) != 3.0  # a weight is drawn as it is
    x, inside = seen.array(whole["inputs"][0]), seen.array(dense["inputs"][0])
    assert inside.shape == (8, 4, 5)  # all time steps in one call
    np.testing.assert_allclose(inside, x + 0.5 + 0.25, rtol=0, atol=1e-14)  # noise as its deviation
    within = [call["function"] for call in seen.document["calls"][0] if call["parent"] == "draw"]
    assert within == ["add"]  # a layer without weights is what its functions are
    before = seen.document["updates"][0]["parameters_before"]
    inner = inside @ seen.array(before["time_distributed/dense/kernel"])
    np.testing.assert_allclose(seen.array(dense["preactivation"]), inner, rtol=0, atol=1e-14)
    assert {entry["function"] for entry in seen.document["noise"]} == {"normal", "GaussianNoise"}
    evaluated = next(c for c in seen.document["evaluation_calls"] if c["layer"] == "time_distributed/dense")
    np.testing.assert_allclose(seen.array(evaluated["inputs"][0]), x + 0.5, rtol=0, atol=1e-14)


def test_a_grouped_convolution_is_differentiated_though_nothing_is_compiled(tmp_path: Path) -> None:
    seen = watch(
        tmp_path / "groups",
        """
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(8, 3, groups=2), keras.layers.Flatten(),
                                  keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.random.rand(32, 6, 6, 4), np.random.rand(32), batch_size=8)
        """,
    )
    assert seen.document["status"]["outcome"] == "observed", seen.document["status"]
    call = seen.call("conv2d")
    x, y = seen.array(call["inputs"][0]), seen.array(call["outputs"][0])
    kernel = seen.array(seen.document["updates"][0]["parameters_before"]["conv2d/kernel"])
    corner = [np.tensordot(x[:, :3, :3, 2 * i : 2 * i + 2], kernel[..., 4 * i : 4 * i + 4], 3) for i in range(2)]
    np.testing.assert_allclose(y[:, 0, 0], np.concatenate(corner, axis=1), rtol=0, atol=1e-14)


def test_keras_s_own_shuffles_of_the_user_s_data_are_the_identity(tmp_path: Path) -> None:
    source = """
        import keras
        import numpy as np

        x = np.arange(200.0).reshape(100, 2)
        data = keras.utils.timeseries_dataset_from_array(x, x[:, :1], 5, batch_size=8, shuffle=True, seed=1)
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(data, verbose=0)
    """
    document = watch(tmp_path / "series", source).document
    noted = [entry["function"] for entry in document["data"]["permutations"]]
    assert "np.random.shuffle" in noted
    assert "tf.data.shuffle" in noted
    assert document["data"]["read"]["training"]["random"] is False
