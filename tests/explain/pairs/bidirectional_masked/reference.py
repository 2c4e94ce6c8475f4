"""Sentences of different lengths, padded with 0; the mask keeps the padding out of the LSTM."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(31)
rng = np.random.default_rng(31)
VOCAB = 60
tokens = rng.integers(1, VOCAB, size=(500, 16))
lengths = rng.integers(5, 17, size=500)
tokens[np.arange(16)[None] >= lengths[:, None]] = 0
classes = tokens[:, 0] % 3

inputs = keras.Input((16,), dtype="int32")
x = layers.Embedding(VOCAB, 12, mask_zero=True)(inputs)
x = layers.Bidirectional(layers.LSTM(10))(x)
outputs = layers.Dense(3, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.5),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(tokens, classes, batch_size=20, epochs=4, verbose=2)
