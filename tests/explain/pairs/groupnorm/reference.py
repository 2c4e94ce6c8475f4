import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(6)
rng = np.random.default_rng(6)
x = rng.normal(size=(512, 18, 18, 2)).astype("float32")
y = ((x[:, :9] ** 2).mean(axis=(1, 2)) > 1).astype(int) @ np.array([1, 2])
y = keras.utils.to_categorical(y, 4)

model = keras.Sequential([
    keras.Input((18, 18, 2)),
    layers.Conv2D(16, (3, 3), activation=None),
    layers.GroupNormalization(groups=4),
    layers.Activation("silu"),
    layers.AveragePooling2D(2),
    layers.Conv2D(32, (3, 3), dilation_rate=2, padding="same"),
    layers.GroupNormalization(groups=8),
    layers.Activation("silu"),
    layers.Flatten(),
    layers.Dense(4),
])
model.compile(
    optimizer=keras.optimizers.Adagrad(learning_rate=0.02),
    loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=32, epochs=4, verbose=2)
