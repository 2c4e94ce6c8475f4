"""Before the refactoring: Sequential and fit."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(97)
rng = np.random.default_rng(97)
x = rng.normal(size=(480, 10, 10, 1)).astype("float32")
y = (x[:, :5].sum(axis=(1, 2, 3)) > 0).astype("int64")

model = keras.Sequential([
    keras.Input((10, 10, 1)),
    layers.Conv2D(6, 3, activation="relu"),
    layers.MaxPooling2D(2),
    layers.Flatten(),
    layers.Dense(16, activation="relu"),
    layers.Dense(2, activation="softmax"),
])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="sparse_categorical_crossentropy")
model.fit(x, y, batch_size=32, epochs=3, verbose=2)
