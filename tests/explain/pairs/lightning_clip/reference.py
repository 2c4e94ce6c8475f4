"""Wine quality, sort of: SGD with clipped gradients and a rate that halves each epoch."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(83)
rng = np.random.default_rng(83)
x = rng.normal(size=(1000, 11)).astype("float32")
score = x @ rng.normal(size=11)
y = np.digitize(score, np.quantile(score, [0.2, 0.4, 0.6, 0.8]))
x_train, x_val, y_train, y_val = x[:800], x[800:], y[:800], y[800:]

model = keras.Sequential(name="wine")
model.add(layers.Input((11,)))
for units in (64, 64, 32):
    model.add(layers.Dense(units, activation="relu"))
    model.add(layers.Dropout(0.1))
model.add(layers.Dense(5, activation="softmax"))

model.compile(
    optimizer=keras.optimizers.SGD(0.1, global_clipnorm=1.0),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
halve = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 * 0.5**epoch)
model.fit(x_train, y_train, batch_size=50, epochs=5, validation_data=(x_val, y_val), callbacks=[halve], verbose=2)
