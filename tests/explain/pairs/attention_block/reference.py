"""One transformer block over sensor readings, trained with a cosine schedule."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(19)
rng = np.random.default_rng(19)
D, HEADS, LENGTH, STEPS = 32, 4, 12, 60
x = rng.normal(size=(640, LENGTH, 8)).astype("float32")
y = np.argmax(x.max(axis=1)[:, :5], axis=1)

inputs = keras.Input((LENGTH, 8))
h = layers.Dense(D)(inputs)
attended = layers.MultiHeadAttention(num_heads=HEADS, key_dim=D // HEADS, dropout=0.1)(h, h)
h = layers.LayerNormalization(epsilon=1e-6)(h + attended)
ff = layers.Dense(64, activation="gelu")(h)
ff = layers.Dense(D)(ff)
ff = layers.Dropout(0.1)(ff)
h = layers.LayerNormalization(epsilon=1e-6)(h + ff)
h = layers.GlobalAveragePooling1D()(h)
outputs = layers.Dense(5)(h)
model = keras.Model(inputs, outputs)

schedule = keras.optimizers.schedules.CosineDecay(3e-3, decay_steps=STEPS)
model.compile(
    optimizer=keras.optimizers.Adam(schedule, beta_2=0.98, epsilon=1e-9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=32, epochs=3, verbose=2)
