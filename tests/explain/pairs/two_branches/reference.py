"""House prices: a picture and a row of figures in, price and "sold quickly" out."""
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(11)
rng = np.random.default_rng(11)
n = 640
pictures = rng.random((n, 16, 16, 3)).astype("float32")
figures = rng.normal(size=(n, 6)).astype("float32")
price = (figures @ rng.normal(size=6) + 4 * pictures.mean(axis=(1, 2, 3)))[:, None].astype("float32")
quick = (figures[:, :1] + pictures[:, :8].mean(axis=(1, 2, 3))[:, None] > 0.5).astype("float32")

picture_in = keras.Input((16, 16, 3), name="picture")
figures_in = keras.Input((6,), name="figures")

a = layers.Conv2D(8, 3, activation="relu", padding="same")(picture_in)
a = layers.MaxPooling2D()(a)
a = layers.Conv2D(16, 3, activation="relu", padding="same")(a)
a = layers.GlobalAveragePooling2D()(a)
b = layers.Dense(16, activation="relu")(figures_in)
b = layers.Dense(16, activation="relu")(b)
h = layers.Concatenate()([a, b])
h = layers.Dense(32, activation="swish")(h)
price_out = layers.Dense(1, name="price")(h)
quick_out = layers.Dense(1, activation="sigmoid", name="quick")(h)

model = keras.Model([picture_in, figures_in], [price_out, quick_out])
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=2e-3, weight_decay=0.01),
    loss=["mse", "binary_crossentropy"],
    loss_weights=[1.0, 0.5],
)
model.fit([pictures[:512], figures[:512]], [price[:512], quick[:512]], batch_size=32, epochs=4, verbose=2)
print(model.evaluate([pictures[512:], figures[512:]], [price[512:], quick[512:]], verbose=0))
