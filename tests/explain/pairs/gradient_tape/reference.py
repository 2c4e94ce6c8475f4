"""A custom training loop, with GradientTape and clipping by value."""
import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(59)
rng = np.random.default_rng(59)
x = rng.normal(size=(768, 14)).astype("float32")
y = (np.tanh(x @ rng.normal(size=(14, 3))) + 0.05 * rng.normal(size=(768, 3))).astype("float32")
dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(768).batch(24)


class Regressor(keras.Model):
    def __init__(self):
        super().__init__()
        self.d1 = keras.layers.Dense(32)
        self.d2 = keras.layers.Dense(32)
        self.d3 = keras.layers.Dense(3, activation="tanh")
        self.drop = keras.layers.Dropout(0.1)

    def call(self, x, training=False):
        x = tf.nn.relu(self.d1(x))
        x = self.drop(x, training=training)
        x = tf.nn.relu(self.d2(x))
        return self.d3(x)


model = Regressor()
optimizer = keras.optimizers.SGD(learning_rate=keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=32, decay_rate=0.7))
loss_fn = keras.losses.MeanSquaredError()


@tf.function
def train_step(xb, yb):
    with tf.GradientTape() as tape:
        prediction = model(xb, training=True)
        loss = loss_fn(yb, prediction)
    gradients = tape.gradient(loss, model.trainable_variables)
    gradients = [tf.clip_by_value(g, -0.02, 0.02) for g in gradients]
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return loss


for epoch in range(4):
    for xb, yb in dataset:
        loss = train_step(xb, yb)
    print("epoch", epoch + 1, "loss", float(loss))
