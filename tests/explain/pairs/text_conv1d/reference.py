"""Short reviews, good or bad: embedding, 1-D convolution, the maximum over time."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(2)
max_features, maxlen = 200, 30
rng = np.random.default_rng(2)
x = rng.integers(1, max_features, size=(700, maxlen))
y = (np.isin(x, np.arange(1, 20)).sum(axis=1) > 2).astype("float32")

model = keras.Sequential(
    [
        keras.Input((maxlen,), dtype="int32"),
        layers.Embedding(max_features, 24),
        layers.SpatialDropout1D(0.1),
        layers.Conv1D(32, 5, padding="valid", activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(32),
        layers.Dropout(0.3),
        layers.Activation("relu"),
        layers.Dense(1),
        layers.Activation("sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(0.003), metrics=["accuracy"])
model.fit(x, y, batch_size=50, epochs=3, validation_split=0.2, verbose=2)
