"""Next value of a noisy sine with two LSTM layers."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(13)
rng = np.random.default_rng(13)
t = np.arange(900)
series = np.sin(t / 9.0) + 0.1 * rng.normal(size=len(t))
windows = np.lib.stride_tricks.sliding_window_view(series, 25)
x = windows[:, :-1, None].astype("float32")
y = windows[:, -1:].astype("float32")
x_train, y_train, x_val, y_val = x[:704], y[:704], x[704:], y[704:]

model = keras.Sequential([
    keras.Input((24, 1)),
    layers.LSTM(20, return_sequences=True),
    layers.LSTM(12),
    layers.Dense(1),
])
optimizer = keras.optimizers.SGD(learning_rate=0.05, momentum=0.8, global_clipnorm=0.5)
model.compile(optimizer=optimizer, loss=keras.losses.Huber(delta=0.5), metrics=["mae"])
model.fit(x_train, y_train, batch_size=32, epochs=4, validation_data=(x_val, y_val), verbose=2)
