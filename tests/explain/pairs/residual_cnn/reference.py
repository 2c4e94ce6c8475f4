import keras
import numpy as np
from keras import layers


class ResidualBlock(layers.Layer):
    def __init__(self, filters, strides=1, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")
        self.bn1 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.conv2 = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")
        self.bn2 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.relu = layers.ReLU()
        self.shortcut = None
        if strides != 1:
            self.shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False, kernel_initializer="he_normal")

    def call(self, x, training=None):
        y = self.relu(self.bn1(self.conv1(x), training=training))
        y = self.bn2(self.conv2(y), training=training)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return self.relu(x + y)


class ResNet(keras.Model):
    def __init__(self, classes=4):
        super().__init__()
        self.stem = layers.Conv2D(16, 3, padding="same", use_bias=False, kernel_initializer="he_normal")
        self.bn = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.relu = layers.ReLU()
        self.block1 = ResidualBlock(16)
        self.block2 = ResidualBlock(32, strides=2)
        self.pool = layers.GlobalAveragePooling2D()
        self.fc = layers.Dense(classes)

    def call(self, x, training=None):
        x = self.relu(self.bn(self.stem(x), training=training))
        x = self.block1(x, training=training)
        x = self.block2(x, training=training)
        return self.fc(self.pool(x))


def make_data(n=480):
    rng = np.random.default_rng(5)
    y = rng.integers(0, 4, n)
    x = rng.normal(size=(n, 16, 16, 3))
    x[np.arange(n), 4 * y, :, 0] += 2.0
    return x.astype("float32"), y


def main():
    keras.utils.set_random_seed(5)
    x, y = make_data()
    model = ResNet()
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=48, epochs=3, verbose=2)


if __name__ == "__main__":
    main()
