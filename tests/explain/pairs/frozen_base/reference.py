"""Transfer learning: a trained base with frozen weights (and frozen BatchNorm), a new head."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(71)
rng = np.random.default_rng(71)
x = rng.normal(size=(480, 14, 14, 3)).astype("float32")
y = np.argmax(x[:, :7].mean(axis=(1, 2)), axis=1)
# as if loaded from a file
trained = {
    "kernel1": rng.normal(size=(3, 3, 3, 12)) * 0.2, "bias1": rng.normal(size=12) * 0.1,
    "gamma": rng.uniform(0.5, 1.5, 12), "beta": rng.normal(size=12) * 0.1,
    "mean": rng.normal(size=12) * 0.2, "variance": rng.uniform(0.5, 2.0, 12),
    "kernel2": rng.normal(size=(3, 3, 12, 16)) * 0.1, "bias2": rng.normal(size=16) * 0.1,
}

base = keras.Sequential(
    [
        keras.Input((14, 14, 3)),
        layers.Conv2D(12, 3, name="conv1"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(),
        layers.Conv2D(16, 3, name="conv2", activation="relu"),
    ],
    name="base",
)
base.get_layer("conv1").set_weights([trained["kernel1"], trained["bias1"]])
base.get_layer("bn").set_weights([trained["gamma"], trained["beta"], trained["mean"], trained["variance"]])
base.get_layer("conv2").set_weights([trained["kernel2"], trained["bias2"]])
base.trainable = False

inputs = keras.Input((14, 14, 3))
h = base(inputs, training=False)
h = layers.GlobalMaxPooling2D()(h)
h = layers.Dense(24, activation="relu")(h)
outputs = layers.Dense(3)(h)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x, y, batch_size=24, epochs=3, verbose=2)
