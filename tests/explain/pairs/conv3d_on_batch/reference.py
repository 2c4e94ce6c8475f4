"""Small volumes, a hand-written loop around train_on_batch."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(23)
rng = np.random.default_rng(23)
volumes = rng.random((240, 10, 12, 14, 1)).astype("float32")
labels = (volumes[:, :5].mean(axis=(1, 2, 3, 4)) > volumes[:, 5:].mean(axis=(1, 2, 3, 4))).astype("int64")

model = keras.Sequential([
    layers.Input((10, 12, 14, 1)),
    layers.Conv3D(8, 3, padding="same", activation="relu"),
    layers.MaxPool3D(2),
    layers.Conv3D(16, 3, strides=(1, 2, 1), padding="valid", activation="relu"),
    layers.GlobalAveragePooling3D(),
    layers.Dense(2),
])
model.compile(
    optimizer=keras.optimizers.Adadelta(learning_rate=1.0, rho=0.9, epsilon=1e-6),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
for epoch in range(3):
    order = np.random.permutation(len(volumes))
    for i in range(0, len(volumes), 16):
        loss = model.train_on_batch(volumes[order[i : i + 16]], labels[order[i : i + 16]])
    print("epoch", epoch, "loss", float(loss))
