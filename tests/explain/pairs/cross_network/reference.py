import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

# Deep & Cross Network v2 for click prediction (low-rank cross layers)

VOCAB = {"user_group": 10, "ad": 30, "site": 15, "hour": 24}
EMB = 6


class CrossLayer(layers.Layer):
    """x0 * (U(V x) + b) + x"""

    def __init__(self, rank=8, **kwargs):
        super().__init__(**kwargs)
        self.down = layers.Dense(rank, use_bias=False)
        self.rank = rank

    def build(self, input_shapes):
        dim = input_shapes[0][-1]
        self.down.build((None, dim))
        self.up = layers.Dense(dim)
        self.up.build((None, self.rank))

    def call(self, inputs):
        x0, x = inputs
        return x0 * self.up(self.down(x)) + x


def clicks(n, seed):
    rng = np.random.default_rng(seed)
    taste = np.random.default_rng(1000).normal(size=(10, 30))
    place = np.random.default_rng(1001).normal(size=15)
    cats = {name: rng.integers(0, size, n) for name, size in VOCAB.items()}
    dense = rng.normal(size=(n, 3))
    logit = 1.2 * taste[cats["user_group"], cats["ad"]] + 0.6 * place[cats["site"]] + dense[:, 0] * dense[:, 1] - 0.5
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype("float32")
    inputs = {name: v.astype("int32")[:, None] for name, v in cats.items()}
    inputs["dense"] = dense.astype("float32")
    return inputs, y[:, None]


def build(n_cross=3):
    inputs = {name: keras.Input((1,), dtype="int32", name=name) for name in VOCAB}
    inputs["dense"] = keras.Input((3,), name="dense")
    parts = [
        layers.Flatten()(layers.Embedding(size, EMB, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.3))(inputs[name]))
        for name, size in VOCAB.items()
    ]
    x0 = layers.Concatenate()(parts + [inputs["dense"]])
    x = x0
    for _ in range(n_cross):
        x = CrossLayer()([x0, x])
    deep = layers.Dense(32, activation="relu")(x0)
    deep = layers.Dense(16, activation="relu")(deep)
    logit = layers.Dense(1)(layers.Concatenate()([x, deep]))
    return keras.Model(inputs, logit)


def auc(y, score):
    pos, neg = score[y > 0.5], score[y < 0.5]
    return (pos[:, None] > neg[None, :]).mean()


if __name__ == "__main__":
    keras.utils.set_random_seed(64)
    x, y = clicks(600, seed=1)
    x_test, y_test = clicks(300, seed=2)
    model = build()
    model.compile(
        optimizer=keras.optimizers.Adam(5e-3, clipnorm=0.5),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    model.fit(x, y, batch_size=64, epochs=8, verbose=2)
    print("AUC", auc(y_test[:, 0], model.predict(x_test, verbose=0)[:, 0]))
