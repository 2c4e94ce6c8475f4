import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(9)


class MixtureOfExperts(layers.Layer):
    def __init__(self, experts, units, **kwargs):
        super().__init__(**kwargs)
        self.experts, self.units = experts, units

    def build(self, shape):
        self.w = self.add_weight(shape=(self.experts, shape[-1], self.units), initializer="glorot_uniform", name="w")
        self.b = self.add_weight(shape=(self.experts, self.units), initializer="zeros", name="b")
        self.gate = self.add_weight(shape=(shape[-1], self.experts), initializer="glorot_uniform", name="gate")

    def call(self, x):
        weights = ops.softmax(ops.matmul(x, self.gate))
        hidden = ops.relu(ops.einsum("bi,eiu->beu", x, self.w) + self.b)
        return ops.einsum("be,beu->bu", weights, hidden)


rng = np.random.default_rng(9)
x = rng.normal(size=(400, 10)).astype("float32")
y = (np.abs(x[:, :1]) + x[:, 1:2] * x[:, 2:3]).astype("float32")
inputs = keras.Input((10,))
h = MixtureOfExperts(4, 16)(inputs)
h = layers.LayerNormalization()(h)
outputs = layers.Dense(1)(h)
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-3), "mse")
model.fit(x, y, epochs=2, batch_size=40, verbose=0)
print(model.evaluate(x, y, verbose=0))
