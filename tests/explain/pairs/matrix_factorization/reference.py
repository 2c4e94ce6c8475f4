"""Ratings by factors of users and items, with a mean that is learned."""
import keras
import numpy as np
from keras import layers, ops

rng = np.random.default_rng(71)
pairs = np.stack([rng.integers(0, 50, 1500), rng.integers(0, 80, 1500)], axis=1)
ratings = rng.uniform(1, 5, 1500).astype("float32")


class MatrixFactorization(keras.Model):
    def __init__(self):
        super().__init__()
        self.user = layers.Embedding(50, 8, embeddings_initializer="normal")
        self.item = layers.Embedding(80, 8, embeddings_initializer="normal")
        self.user_bias = layers.Embedding(50, 1)
        self.item_bias = layers.Embedding(80, 1)

    def build(self, shape):
        self.mu = self.add_weight(shape=(), initializer="zeros", name="mu")

    def call(self, inputs):
        u, i = inputs[:, 0], inputs[:, 1]
        product = ops.sum(self.user(u) * self.item(i), axis=1)
        return product + self.user_bias(u)[:, 0] + self.item_bias(i)[:, 0] + self.mu


model = MatrixFactorization()
model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9), "mse")
model.fit(pairs, ratings, batch_size=100, epochs=5, verbose=2)
