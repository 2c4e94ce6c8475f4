"""MNIST in Keras, as a beginner's tutorial has it: `python examples/tutorial_keras.py`."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

try:
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
except Exception:  # noqa: BLE001 - no network: Keras raises no narrower one; the same digits are in this repository
    digits = np.load(Path(__file__).parents[1] / "recipe" / "mnist.npz")
    x_train, y_train, x_test, y_test = (digits[name] for name in ("x_train", "y_train", "x_test", "y_test"))

x_train = x_train.reshape(60000, 784).astype("float32") / 255
x_test = x_test.reshape(10000, 784).astype("float32") / 255
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = keras.Sequential(
    [
        keras.Input(shape=(784,)),
        layers.Dense(128, activation="relu"),
        layers.Dense(256, activation="relu"),
        layers.Dense(512, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=10, validation_data=(x_test, y_test))

loss, accuracy = model.evaluate(x_test, y_test)
print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")
