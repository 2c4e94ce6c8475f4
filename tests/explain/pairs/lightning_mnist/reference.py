import keras
from keras import layers

keras.utils.set_random_seed(42)
(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train.astype("float32") / 255.0, x_test.astype("float32") / 255.0

inputs = keras.Input(shape=(28, 28))
x = layers.Flatten()(inputs)
x = layers.Dense(300, activation="elu", kernel_initializer="he_normal")(x)
x = layers.Dense(100, activation="elu", kernel_initializer="he_normal")(x)
outputs = layers.Dense(10)(x)
model = keras.Model(inputs, outputs)

model.compile(
    optimizer=keras.optimizers.RMSprop(learning_rate=1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)
model.fit(x_train, y_train, batch_size=64, epochs=20, validation_split=0.1, callbacks=[stop], verbose=2)
print(model.evaluate(x_test, y_test, verbose=0))
