import keras
import numpy as np

keras.utils.set_random_seed(3)
t = np.arange(600)
series = (np.sin(t / 9) + 0.1 * np.random.default_rng(0).normal(size=600)).astype("float32")[:, None]
window = 24
data = keras.utils.timeseries_dataset_from_array(series[:-window], series[window:], window, batch_size=32, shuffle=True, seed=3)
model = keras.Sequential([
    keras.Input((window, 1)),
    keras.layers.Conv1D(8, 5, padding="causal", activation="relu"),
    keras.layers.GRU(12),
    keras.layers.Dense(1),
])
model.compile("rmsprop", "mae")
model.fit(data, epochs=2, verbose=0)
print(model.evaluate(data, verbose=0))
