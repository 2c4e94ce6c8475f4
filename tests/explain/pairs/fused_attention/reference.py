import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(4)
rng = np.random.default_rng(4)
seq = rng.normal(size=(256, 10, 6)).astype("float32")
label = (seq[:, :, 0].sum(1) > 0).astype("int32")


def sinusoid(length, dim):
    pos = np.arange(length)[:, None]
    freq = np.exp(np.arange(0, dim, 2) * -(np.log(10000.0) / dim))
    table = np.zeros((length, dim), "float32")
    table[:, 0::2], table[:, 1::2] = np.sin(pos * freq), np.cos(pos * freq)
    return table


class Encoder(keras.Model):
    def __init__(self):
        super().__init__()
        self.project = layers.Dense(16)
        self.table = ops.convert_to_tensor(sinusoid(10, 16))
        self.q, self.k, self.v, self.o = (layers.Dense(16) for _ in range(4))
        self.n1, self.n2 = layers.LayerNormalization(epsilon=1e-6), layers.LayerNormalization(epsilon=1e-6)
        self.f1, self.f2 = layers.Dense(32, activation="gelu"), layers.Dense(16)
        self.head = layers.Dense(2)

    def call(self, x):
        x = self.project(x) * 4.0 + self.table
        y = self.n1(x)
        b, t = ops.shape(y)[0], 10
        q, k, v = (ops.transpose(ops.reshape(f(y), (b, t, 2, 8)), (0, 2, 1, 3)) for f in (self.q, self.k, self.v))
        a = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 8**0.5)
        y = ops.reshape(ops.transpose(ops.matmul(a, v), (0, 2, 1, 3)), (b, t, 16))
        x = x + self.o(y)
        x = x + self.f2(self.f1(self.n2(x)))
        return self.head(ops.mean(x, axis=1))


model = Encoder()
model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(seq, label, batch_size=32, epochs=2, verbose=0)
print(model.evaluate(seq, label, verbose=0))
