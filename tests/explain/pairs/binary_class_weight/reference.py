"""Fraud or not: imbalanced, so the rare class counts more."""
import numpy as np
import keras
from keras import layers

keras.utils.set_random_seed(7)
rng = np.random.default_rng(7)
X = rng.normal(size=(1200, 15)).astype("float32")
y = (X[:, 0] * X[:, 1] + X[:, 2] > 1.6).astype("int32")  # shape (1200,), about one in ten

model = keras.Sequential([
    keras.Input(shape=(15,)),
    layers.Dense(32, kernel_initializer="he_uniform"),
    layers.BatchNormalization(),
    layers.PReLU(),
    layers.Dense(16, activation="selu", kernel_initializer="lecun_normal"),
    layers.Dense(1),
])
model.compile(
    optimizer=keras.optimizers.SGD(0.03, momentum=0.9),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
)
model.fit(X[:960], y[:960], batch_size=32, epochs=4, class_weight={0: 1.0, 1: 6.0}, validation_data=(X[960:], y[960:]), verbose=2)
