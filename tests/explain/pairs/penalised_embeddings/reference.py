import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
users, items = 40, 60
u = rng.integers(0, users, 800).astype("int32")
i = rng.integers(0, items, 800).astype("int32")
r = (1 + 4 / (1 + np.exp(-np.sin(u) - np.cos(i)))).astype("float32")


class NeuMF(keras.Model):
    def __init__(self):
        super().__init__()
        init = keras.initializers.RandomNormal(stddev=0.05)
        reg = keras.regularizers.L2(1e-4)
        self.ue = keras.layers.Embedding(users, 8, embeddings_initializer=init, embeddings_regularizer=reg)
        self.ie = keras.layers.Embedding(items, 8, embeddings_initializer=init, embeddings_regularizer=reg)
        self.ub = keras.layers.Embedding(users, 1, embeddings_initializer="zeros")
        self.ib = keras.layers.Embedding(items, 1, embeddings_initializer="zeros")
        self.mlp = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])

    def call(self, inputs):
        u, i = inputs
        p, q = self.ue(u), self.ie(i)
        dot = tf.reduce_sum(p * q, axis=-1, keepdims=True)
        return dot + self.ub(u) + self.ib(i) + self.mlp(tf.concat([p, q], axis=-1))


model = NeuMF()
model.compile(keras.optimizers.Adagrad(0.05), "mse")
model.fit((u, i), r, batch_size=64, epochs=2, verbose=0)
print(model.evaluate((u, i), r, verbose=0))
