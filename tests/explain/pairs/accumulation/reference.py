"""Large batches in small pieces: four batches of 16 make one step."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(53)
rng = np.random.default_rng(53)
x = rng.normal(size=(1024, 20)).astype("float32")
y = np.argmax(x[:, :6] + 0.3 * rng.normal(size=(1024, 6)), axis=1)

model = keras.Sequential(
    [
        keras.Input((20,)),
        layers.Dense(48, activation="mish"),
        layers.Dense(24, activation="hard_sigmoid"),
        layers.Dense(6, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.SGD(0.2, momentum=0.9, gradient_accumulation_steps=4),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=16, epochs=5, verbose=2)
