import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(11)
rng = np.random.default_rng(11)
base = rng.normal(size=(192, 20)).astype("float32")
view_a = (base + 0.2 * rng.normal(size=base.shape)).astype("float32")
view_b = (base + 0.2 * rng.normal(size=base.shape)).astype("float32")

encoder = keras.Sequential([layers.Dense(32, activation="relu"), layers.BatchNormalization(), layers.Dense(16)])
projector = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(8, use_bias=False)])
TEMPERATURE = 0.2


def nt_xent(a, b):
    z = tf.math.l2_normalize(tf.concat([a, b], axis=0), axis=1)
    n = tf.shape(a)[0]
    similarity = tf.matmul(z, z, transpose_b=True) / TEMPERATURE
    similarity = similarity - 1e9 * tf.eye(2 * n)
    labels = tf.concat([tf.range(n) + n, tf.range(n)], axis=0)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, similarity))


optimizer = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.05, 60), momentum=0.9)
data = tf.data.Dataset.from_tensor_slices((view_a, view_b)).shuffle(192).batch(32)
for epoch in range(4):
    for a, b in data:
        with tf.GradientTape() as tape:
            loss = nt_xent(projector(encoder(a, training=True), training=True), projector(encoder(b, training=True), training=True))
        variables = encoder.trainable_variables + projector.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
print(float(loss))
