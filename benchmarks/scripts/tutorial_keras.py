"""The tutorial's Keras code, as beginners write it, with a clock."""

import os

from record.isolation import hide

os.environ["KERAS_BACKEND"] = "tensorflow"
hide({"torch", "jax"})

import keras  # noqa: E402
from keras import layers  # noqa: E402

from benchmarks.scripts.clock import options, report  # noqa: E402
from benchmarks.scripts.keras_clock import EpochClock  # noqa: E402
from recipe import mnist  # noqa: E402


def main() -> None:
    """Loads, builds, compiles, fits, evaluates."""
    arguments = options(__doc__).parse_args()
    (train_images, train_labels, test_images, test_labels) = mnist.load()
    x_train = train_images.reshape(60000, 784).astype("float32") / 255
    x_test = test_images.reshape(10000, 784).astype("float32") / 255
    y_train = keras.utils.to_categorical(train_labels, 10)
    y_test = keras.utils.to_categorical(test_labels, 10)

    model = keras.Sequential(
        [
            keras.Input(shape=(784,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(512, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(), loss="categorical_crossentropy", metrics=["accuracy"])
    clock = EpochClock()
    model.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=arguments.epochs,
        validation_data=(x_test, y_test),
        callbacks=[clock],
    )
    print(model.evaluate(x_test, y_test))

    import tensorflow as tf

    report(clock.clock, device="gpu" if tf.config.list_physical_devices("GPU") else "cpu")


if __name__ == "__main__":
    main()
