"""Siamese network: one encoder for both, the distance decides."""
import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(89)
rng = np.random.default_rng(89)
kinds = rng.normal(size=(6, 20))
a, b = rng.integers(0, 6, 800), rng.integers(0, 6, 800)
b = np.where(rng.random(800) < 0.4, a, b)
left = (kinds[a] + 0.4 * rng.normal(size=(800, 20))).astype("float32")
right = (kinds[b] + 0.4 * rng.normal(size=(800, 20))).astype("float32")
same = (a == b).astype("float32")

encoder = keras.Sequential(
    [keras.Input((20,)), layers.Dense(32, activation="relu"), layers.Dense(8)], name="encoder"
)
left_in, right_in = keras.Input((20,)), keras.Input((20,))
difference = ops.abs(encoder(left_in) - encoder(right_in))
output = layers.Dense(1, activation="sigmoid")(difference)
model = keras.Model([left_in, right_in], output)
model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), loss="binary_crossentropy", metrics=["accuracy"])
model.fit([left, right], same, batch_size=25, epochs=3, verbose=2)
