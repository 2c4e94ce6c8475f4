"""Strided CNN with batch normalisation on small grey images."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
images = rng.integers(0, 256, (960, 28, 28, 1), dtype=np.uint8)
brightness = images[:, 8:20, 8:20, 0].mean(axis=(1, 2))
labels = np.digitize(brightness, np.quantile(brightness, np.arange(0.1, 1.0, 0.1)))
x = images.astype("float32") / 255.0

model = keras.Sequential()
model.add(keras.Input((28, 28, 1)))
model.add(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False))
model.add(layers.BatchNormalization())
model.add(layers.LeakyReLU())
model.add(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False))
model.add(layers.BatchNormalization())
model.add(layers.LeakyReLU())
model.add(layers.Flatten())
model.add(layers.Dense(64, activation="relu"))
model.add(layers.Dense(10))

model.compile(
    optimizer=keras.optimizers.SGD(learning_rate=0.02, momentum=0.9, nesterov=True),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x[:800], labels[:800], batch_size=32, epochs=4, validation_data=(x[800:], labels[800:]), verbose=2)
