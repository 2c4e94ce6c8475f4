"""Batches made on the fly by a PyDataset."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(67)


class Spectra(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, shuffle=True, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size, self.shuffle = x, y, batch_size, shuffle
        self.order = np.arange(len(x))
        self.on_epoch_end()

    def __len__(self):
        return int(np.ceil(len(self.x) / self.batch_size))

    def __getitem__(self, i):
        index = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return np.log1p(self.x[index])[..., None], self.y[index]

    def on_epoch_end(self):
        if self.shuffle:
            np.random.shuffle(self.order)


rng = np.random.default_rng(67)
y = rng.integers(0, 5, 620)
x = rng.gamma(2.0, 1.0, size=(620, 64)).astype("float32")
x[np.arange(620)[:, None], 12 * y[:, None] + np.arange(6)] *= 3

model = keras.Sequential([
    layers.Input((64, 1)),
    layers.Conv1D(16, 7, strides=2, padding="same"),
    layers.LeakyReLU(negative_slope=0.1),
    layers.MaxPooling1D(2),
    layers.Conv1D(32, 3, padding="causal", dilation_rate=2, activation="relu"),
    layers.UpSampling1D(2),
    layers.AveragePooling1D(4),
    layers.Flatten(),
    layers.Dense(5),
])
model.compile(
    optimizer=keras.optimizers.Adam(2e-3, clipnorm=None, clipvalue=0.05),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(Spectra(x, y, 40), epochs=4, verbose=2)
