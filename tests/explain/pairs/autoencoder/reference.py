"""Denoising autoencoder with transposed convolutions."""
import argparse

import keras
import numpy as np
from keras import layers


def blobs(n, rng):
    rows, columns = np.mgrid[0:16, 0:16]
    centre = rng.uniform(4, 12, size=(n, 2, 1, 1))
    clean = np.exp(-((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2) / 8.0)[..., None]
    noisy = np.clip(clean + 0.2 * rng.normal(size=clean.shape), 0, 1)
    return noisy.astype("float32"), clean.astype("float32")


def build():
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(16, 3, strides=2, activation="relu", padding="same")(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(16, 4, strides=2, activation="relu", padding="same")(x)
    outputs = layers.Conv2D(1, 3, activation="sigmoid", padding="same")(x)
    return keras.Model(inputs, outputs, name="autoencoder")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.002)
    args = parser.parse_args()

    keras.utils.set_random_seed(17)
    noisy, clean = blobs(512, np.random.default_rng(17))
    autoencoder = build()
    autoencoder.compile(optimizer=keras.optimizers.Nadam(args.lr), loss="mse")
    autoencoder.fit(noisy, clean, batch_size=32, epochs=args.epochs, verbose=2)
