"""Weight decay the Keras way: L2 on the kernels, a little L1 on the last one."""
import keras
import numpy as np
from keras import layers, regularizers

keras.utils.set_random_seed(47)
rng = np.random.default_rng(47)
x = rng.normal(size=(800, 12, 12, 1)).astype("float32")
y = (x[:, 3:9, 3:9, 0].sum(axis=(1, 2)) > 0).astype(int) + (x[:, :, 0, 0].sum(axis=1) > 0)

decay = regularizers.L2(2e-3)
model = keras.Sequential([
    keras.Input((12, 12, 1)),
    layers.Conv2D(8, 3, activation="relu", kernel_regularizer=decay),
    layers.Conv2D(8, 3, activation="relu", kernel_regularizer=decay),
    layers.Flatten(),
    layers.Dense(32, activation="relu", kernel_regularizer=decay),
    layers.Dense(3, kernel_regularizer=regularizers.L1(1e-4)),
])
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=32, epochs=3, verbose=2)
