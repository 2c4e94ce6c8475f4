import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(79)
rng = np.random.default_rng(79)
USERS, ITEMS = 50, 80
user, item = rng.integers(0, USERS, 1200), rng.integers(0, ITEMS, 1200)
rating = (rng.normal(size=USERS)[user] * rng.normal(size=ITEMS)[item] + 3).astype("float32")[:, None]

user_in, item_in = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
u = layers.Flatten()(layers.Embedding(USERS, 8, embeddings_initializer="normal")(user_in))
i = layers.Flatten()(layers.Embedding(ITEMS, 8, embeddings_initializer="normal")(item_in))
product = layers.Dot(axes=1)([u, i])
both = layers.Dense(16, activation="relu")(layers.Concatenate()([u, i]))
out = layers.Dense(1)(both)
model = keras.Model([user_in, item_in], layers.Add()([product, out]))
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
model.fit([user, item], rating, batch_size=60, epochs=4, verbose=2)
