"""The data's scale is learned by a Normalization layer in the model."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(103)
rng = np.random.default_rng(103)
x = rng.gamma(2.0, [1.0, 10.0, 100.0, 0.1, 5.0], size=(900, 5)).astype("float32")
y = (np.log(x).sum(axis=1, keepdims=True) / 5 + 0.05 * rng.normal(size=(900, 1))).astype("float32")

normalize = layers.Normalization()
normalize.adapt(x[:720])
model = keras.Sequential([
    keras.Input((5,)),
    normalize,
    layers.Dense(40, activation="sigmoid"),
    layers.Dense(1),
])
model.compile(optimizer=keras.optimizers.RMSprop(0.005), loss="mae")
model.fit(x[:720], y[:720], batch_size=36, epochs=4, validation_data=(x[720:], y[720:]), verbose=2)
