import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(21)
x = rng.normal(size=(192, 12, 12, 3)).astype("float32")
y = (x[:, :6].mean(axis=(1, 2, 3)) > x[:, 6:].mean(axis=(1, 2, 3))).astype("int64")

base = keras.Sequential([
    keras.Input((12, 12, 3)),
    layers.Conv2D(8, 3, padding="same", activation="relu"),
    layers.BatchNormalization(),
    layers.MaxPooling2D(),
    layers.Conv2D(16, 3, padding="same", activation="relu"),
    layers.GlobalAveragePooling2D(),
])
base.trainable = False

inputs = keras.Input((12, 12, 3))
h = base(inputs, training=False)
h = layers.Dropout(0.2)(h)
model = keras.Model(inputs, layers.Dense(2)(h))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# first the head alone
model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss=loss)
model.fit(x, y, batch_size=32, epochs=3, verbose=0)

# then all of it
base.trainable = True
model.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss)
model.fit(x, y, batch_size=32, epochs=2, verbose=0)
print(model.evaluate(x, y, verbose=0))
