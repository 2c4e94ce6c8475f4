import numpy as np
import keras
from keras import layers, ops

keras.utils.set_random_seed(29)
rng = np.random.default_rng(29)
signal = rng.normal(size=(600, 18, 5)).astype(np.float32)
target = np.abs(signal[:, :, :2]).sum(axis=(1, 2)).astype(np.float32)  # (600,)


class Counter(keras.Model):
    def __init__(self):
        super().__init__()
        self.gru = layers.GRU(16)
        self.hidden = layers.Dense(16, activation="tanh")
        self.out = layers.Dense(1)

    def call(self, x):
        h = self.gru(x)
        return ops.squeeze(self.out(self.hidden(h)), axis=-1)


model = Counter()
model.compile(optimizer=keras.optimizers.RMSprop(2e-3, rho=0.95, momentum=0.5), loss="mean_absolute_error")
model.fit(signal, target, batch_size=40, epochs=3, verbose=2)
