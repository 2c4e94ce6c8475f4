"""Tabular regression; the weights are averaged over the steps (EMA)."""
import keras
import numpy as np

keras.utils.set_random_seed(41)
rng = np.random.default_rng(41)
features = rng.normal(loc=3.0, scale=[1, 5, 0.2, 10, 2, 1, 1, 4], size=(1000, 8))
target = features @ rng.normal(size=8) / 4 + np.sin(features[:, 0]) + 0.1 * rng.normal(size=1000)

mean, std = features[:800].mean(axis=0), features[:800].std(axis=0)
features = ((features - mean) / std).astype("float32")
target = target.astype("float32").reshape(-1, 1)
X_train, X_test = features[:800], features[800:]
y_train, y_test = target[:800], target[800:]

model = keras.Sequential(
    [
        keras.layers.Input((8,)),
        keras.layers.Dense(64, activation="softplus"),
        keras.layers.Dense(64, activation="softplus"),
        keras.layers.Dense(1),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(learning_rate=0.01, use_ema=True, ema_momentum=0.98),
    loss="mean_squared_error",
    metrics=["mae"],
)
model.fit(X_train, y_train, batch_size=40, epochs=5, verbose=2)
print(model.evaluate(X_test, y_test, verbose=0))
