# A tiny MobileNet: depthwise and separable convolutions, ReLU6.
import numpy as np
import keras
from keras.layers import (
    Activation, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, Dropout, GlobalAveragePooling2D, Input,
    SeparableConv2D,
)

keras.utils.set_random_seed(8)
rng = np.random.default_rng(8)
X = rng.normal(0.4, 0.3, size=(600, 20, 20, 3)).astype("float32")
Y = np.argmax(X[:, :, :, :].mean(axis=(1, 2)), axis=1)

net = keras.Sequential([
    Input((20, 20, 3)),
    Conv2D(12, 3, padding="same"),
    Activation("relu6"),
    DepthwiseConv2D(3, padding="same", use_bias=False),
    BatchNormalization(),
    Activation("relu6"),
    SeparableConv2D(24, 3, padding="valid"),
    Activation("relu6"),
    SeparableConv2D(24, 3, strides=1, padding="same", depth_multiplier=2),
    Activation("relu"),
    GlobalAveragePooling2D(),
    Dropout(0.25),
    Dense(3, activation="softmax"),
])
net.compile(optimizer=keras.optimizers.Adamax(0.004), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
net.fit(X[:500], Y[:500], batch_size=25, epochs=3, verbose=2)
print(net.evaluate(X[500:], Y[500:], verbose=0))
