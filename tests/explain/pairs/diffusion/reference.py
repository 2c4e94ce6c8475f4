import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

STEPS = 40


def moons(n=256, seed=3):
    rng = np.random.default_rng(seed)
    angle = np.pi * rng.random(n)
    side = rng.integers(0, 2, n)
    x = np.stack([np.cos(angle) + side, np.sin(angle) * (1 - 2 * side)], axis=1)
    return (x + 0.05 * rng.normal(size=x.shape)).astype("float32")


class Diffusion(keras.Model):
    def __init__(self, net):
        super().__init__()
        self.net = net
        kept = np.cumprod(1 - np.linspace(1e-3, 0.1, STEPS))
        self.signal = tf.constant(np.sqrt(kept), tf.float32)
        self.noise = tf.constant(np.sqrt(1 - kept), tf.float32)

    def train_step(self, x):
        time = tf.random.uniform((tf.shape(x)[0],), 0, STEPS, dtype=tf.int32)
        noise = tf.random.normal(tf.shape(x))
        noisy = tf.gather(self.signal, time)[:, None] * x + tf.gather(self.noise, time)[:, None] * noise
        with tf.GradientTape() as tape:
            predicted = self.net([noisy, ops.one_hot(time, STEPS)], training=True)
            loss = self.compute_loss(y=noise, y_pred=predicted)
        variables = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return {"loss": loss}


points = keras.Input((2,))
time = keras.Input((STEPS,))
h = layers.Add()([layers.Dense(48)(points), layers.Dense(48, use_bias=False)(time)])
h = layers.Activation("silu")(h)
h = layers.Dense(48, activation="silu")(h)
model = Diffusion(keras.Model([points, time], layers.Dense(2)(h)))
model.compile(optimizer=keras.optimizers.RMSprop(1e-3), loss=keras.losses.MeanSquaredError())
model.fit(moons(), batch_size=32, epochs=3, verbose=0)
