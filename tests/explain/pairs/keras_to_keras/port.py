"""After the refactoring: a subclassed model that trains on logits."""
import keras
import numpy as np
from keras import layers


class Net(keras.Model):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = layers.Conv2D(6, (3, 3))
        self.pool = layers.MaxPooling2D()
        self.flatten = layers.Flatten()
        self.hidden = layers.Dense(16, activation="relu")
        self.head = layers.Dense(num_classes)

    def call(self, x):
        x = keras.activations.relu(self.conv(x))
        x = self.flatten(self.pool(x))
        return self.head(self.hidden(x))


def load():
    rng = np.random.default_rng(97)
    x = rng.normal(size=(480, 10, 10, 1)).astype("float32")
    return x, (x[:, :5].sum(axis=(1, 2, 3)) > 0).astype("int64")


def main():
    keras.utils.set_random_seed(97)
    x, y = load()
    model = Net(num_classes=2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.05), loss=loss)
    model.fit(x, y, epochs=3, verbose=2)


if __name__ == "__main__":
    main()
