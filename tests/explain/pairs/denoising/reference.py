import keras
import numpy as np
import tensorflow as tf
from keras import layers

rng = np.random.default_rng(12)
basis = rng.normal(size=(3, 20))
x = np.tanh(rng.normal(size=(256, 3)) @ basis).astype("float32")

model = keras.Sequential([
    keras.Input((20,)),
    layers.Dense(32, activation="relu"),
    layers.Dense(8, activation="tanh"),
    layers.Dense(32, activation="relu"),
    layers.Dense(20),
])
optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
loss_of = keras.losses.MeanSquaredError()
data = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(32)

for epoch in range(4):
    for batch in data:
        spoilt = batch + 0.2 * tf.random.normal(tf.shape(batch))
        kept = tf.cast(tf.random.uniform(tf.shape(batch)) >= 0.1, tf.float32)
        with tf.GradientTape() as tape:
            loss = loss_of(batch, model(spoilt * kept, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    print(epoch, float(loss))
