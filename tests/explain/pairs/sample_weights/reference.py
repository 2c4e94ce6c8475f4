"""Readings of unequal trust: each sample has its own weight."""
import keras
import numpy as np

keras.utils.set_random_seed(43)
rng = np.random.default_rng(43)
x = rng.uniform(-1, 1, size=(900, 10)).astype("float32")
trust = rng.choice([0.25, 1.0, 3.0], size=900).astype("float32")
y = np.digitize(x[:, 0] + x[:, 1] ** 2 + rng.normal(size=900) * 0.2 / trust, [-0.2, 0.3, 0.8])

model = keras.Sequential([
    keras.Input((10,)),
    keras.layers.Dense(40, activation="tanh"),
    keras.layers.LayerNormalization(),
    keras.layers.Dense(40, activation="tanh"),
    keras.layers.Dense(4, activation="softmax"),
])
model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
model.fit(x, y, sample_weight=trust, batch_size=30, epochs=4, verbose=2)
