import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(73)
rng = np.random.default_rng(73)
x = rng.normal(size=(640, 30)).astype("float32")
y = keras.utils.to_categorical(np.argmax(x[:, ::6], axis=1), 5)

model = keras.Sequential([
    keras.Input((30,)),
    layers.Dense(64, kernel_initializer="he_uniform"),
    layers.BatchNormalization(momentum=0.95),
    layers.Activation("relu"),
    layers.Dense(32, activation="gelu"),
    layers.Dense(5, activation="softmax"),
])
model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=64, epochs=4, verbose=2)
