"""Attention by Keras's layer for it."""
import numpy as np
import keras
from keras import layers

rng = np.random.default_rng(4)
x = rng.normal(size=(600, 8, 10)).astype("float32")
y = keras.utils.to_categorical(rng.integers(0, 5, 600), 5)

inp = keras.Input((8, 10))
q = layers.Dense(16, use_bias=False)(inp)
k = layers.Dense(16, use_bias=False)(inp)
v = layers.Dense(16, use_bias=False)(inp)
a = layers.Attention(use_scale=False)([q, v, k])
s = layers.Add()([a, layers.Dense(16)(inp)])
s = layers.LayerNormalization()(s)
s = layers.GlobalMaxPooling1D()(s)
out = layers.Dense(5, activation="softmax")(s)
model = keras.Model(inp, out)
model.compile(keras.optimizers.Nadam(2e-3), "categorical_crossentropy")
model.fit(x, y, batch_size=32, epochs=4)
