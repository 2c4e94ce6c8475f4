"""Variational autoencoder with a train_step of its own."""
import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


class Sampling(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.seed = keras.random.SeedGenerator(3)

    def call(self, inputs):
        mean, log_var = inputs
        return mean + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mean), seed=self.seed)


class VAE(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = layers.Dense(24, activation="relu")
        self.mean = layers.Dense(4)
        self.log_var = layers.Dense(4)
        self.sampling = Sampling()
        self.decoder = layers.Dense(24, activation="relu")
        self.output_layer = layers.Dense(30, activation="sigmoid")

    def call(self, x):
        h = self.encoder(x)
        mean, log_var = self.mean(h), self.log_var(h)
        return self.output_layer(self.decoder(self.sampling([mean, log_var]))), mean, log_var

    def train_step(self, x):
        with tf.GradientTape() as tape:
            made, mean, log_var = self(x)
            error = ops.mean(ops.sum(ops.square(x - made), axis=-1))
            kl = -0.5 * ops.mean(ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=-1))
            loss = error + kl
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights))
        return {"loss": loss, "kl": kl}


x = np.random.default_rng(5).random((640, 30)).astype("float32")
vae = VAE()
vae.compile(optimizer=keras.optimizers.SGD(1e-2))
vae.fit(x, epochs=3, batch_size=32, verbose=2)
