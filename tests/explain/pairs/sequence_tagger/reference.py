"""A tag for each word of a sentence."""
import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(29)
words = rng.integers(1, 100, (400, 15))
tags = rng.integers(0, 7, (400, 15))

model = keras.Sequential([
    keras.Input((15,), dtype="int32"),
    layers.Embedding(100, 20),
    layers.Bidirectional(layers.LSTM(12, return_sequences=True), merge_mode="sum"),
    layers.GaussianNoise(0.1),
    layers.TimeDistributed(layers.Dense(16, activation="tanh")),
    layers.TimeDistributed(layers.Dense(7, activation="softmax")),
])
model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
model.fit(words, tags, batch_size=40, epochs=3, verbose=2)
