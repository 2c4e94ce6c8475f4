"""A transformer's block over sensor readings, before a dense layer."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
D, HEADS, LENGTH = 16, 4, 10
x = rng.normal(size=(320, LENGTH, 6)).astype("float32")
y = np.argmax(x.max(axis=1)[:, :4], axis=1)


def block(h):
    attended = layers.MultiHeadAttention(HEADS, D // HEADS, dropout=0.1)(h, h)
    h = layers.LayerNormalization(epsilon=1e-5)(h + layers.Dropout(0.1)(attended))
    ff = layers.Dense(D)(layers.Dropout(0.1)(layers.Dense(48, activation="relu")(h)))
    return layers.LayerNormalization(epsilon=1e-5)(h + layers.Dropout(0.1)(ff))


inputs = keras.Input((LENGTH, 6))
h = block(block(layers.Dense(D)(inputs)))
outputs = layers.Dense(4)(layers.GlobalAveragePooling1D()(h))
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.SGD(0.05), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=2)
