"""Colour images through a tf.data pipeline."""
import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(61)
IMAGES, BATCH = 500, 32


def load():
    rng = np.random.default_rng(61)
    labels = rng.integers(0, 3, IMAGES)
    images = rng.integers(0, 160, size=(IMAGES, 24, 20, 3))
    images[np.arange(IMAGES), :, :, labels] += 60
    images[:, :8, :, 0] += 30
    return images.astype("uint8"), labels.astype("int64")


def prepare(image, label):
    image = tf.cast(image, tf.float32) / 127.5 - 1.0
    return image, label


images, labels = load()
train_ds = (
    tf.data.Dataset.from_tensor_slices((images, labels))
    .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    .shuffle(IMAGES)
    .batch(BATCH, drop_remainder=True)
    .prefetch(tf.data.AUTOTUNE)
)

inputs = keras.Input((24, 20, 3))
x = layers.Conv2D(16, 5, strides=2, padding="same", activation="relu")(inputs)
x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
x = layers.Conv2D(24, 3, padding="same", activation="relu")(x)
x = layers.Flatten()(x)
x = layers.Dropout(0.5)(x)
outputs = layers.Dense(3, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train_ds, epochs=3, verbose=2)
