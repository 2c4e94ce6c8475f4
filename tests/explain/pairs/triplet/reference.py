"""Triplet embedding of handwriting-like strokes (FaceNet loss), batches from a generator."""
import keras
import numpy as np
from keras import layers, ops

WRITERS, PER_WRITER, SIZE, MARGIN = 10, 12, 20, 0.4
BATCH, STEPS, EPOCHS = 24, 20, 5


def signatures(seed=71):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, 60)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    images = np.zeros((WRITERS, PER_WRITER, SIZE, SIZE, 1))
    for w in range(WRITERS):
        freq, phase = rng.uniform(1, 4, 2), rng.uniform(0, 2 * np.pi, 2)
        for k in range(PER_WRITER):
            f, p = freq + 0.1 * rng.normal(size=2), phase + 0.2 * rng.normal(size=2)
            py = SIZE / 2 + 7 * np.sin(2 * np.pi * f[0] * t + p[0])
            px = SIZE / 2 + 7 * np.cos(2 * np.pi * f[1] * t + p[1])
            d2 = (yy[..., None] - py) ** 2 + (xx[..., None] - px) ** 2
            images[w, k, ..., 0] = np.exp(-d2 / 1.5).max(-1)
    return (images + 0.1 * rng.normal(size=images.shape)).astype("float32")


def triplets(images, seed=5):
    rng = np.random.default_rng(seed)
    while True:
        w = rng.integers(0, WRITERS, BATCH)
        other = (w + rng.integers(1, WRITERS, BATCH)) % WRITERS
        i = rng.integers(0, PER_WRITER, BATCH)
        j = (i + rng.integers(1, PER_WRITER, BATCH)) % PER_WRITER
        k = rng.integers(0, PER_WRITER, BATCH)
        yield (images[w, i], images[w, j], images[other, k]), np.zeros((BATCH, 1), "float32")


def build_embedder():
    x = inputs = keras.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(12, 3, padding="valid")(x)
    x = layers.PReLU(alpha_initializer=keras.initializers.Constant(0.1), shared_axes=[1, 2])(x)
    for filters in (24, 32):
        x = layers.SeparableConv2D(filters, 3, padding="same")(x)
        x = layers.PReLU(alpha_initializer=keras.initializers.Constant(0.1), shared_axes=[1, 2])(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(16, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return keras.Model(inputs, layers.UnitNormalization(axis=-1)(x), name="embedder")


def triplet_loss(_, distances):
    return ops.mean(ops.maximum(distances[:, 0] - distances[:, 1] + MARGIN, 0.0))


keras.utils.set_random_seed(71)
images = signatures()
embedder = build_embedder()
anchor, positive, negative = [keras.Input((SIZE, SIZE, 1)) for _ in range(3)]
a, p, n = embedder(anchor), embedder(positive), embedder(negative)
d_ap = ops.sum(ops.square(a - p), axis=-1)
d_an = ops.sum(ops.square(a - n), axis=-1)
model = keras.Model([anchor, positive, negative], ops.stack([d_ap, d_an], axis=-1))

schedule = keras.optimizers.schedules.PiecewiseConstantDecay([59, 79], [0.02, 0.01, 0.002])
model.compile(optimizer=keras.optimizers.SGD(schedule, momentum=0.9), loss=triplet_loss)
model.fit(triplets(images), steps_per_epoch=STEPS, epochs=EPOCHS, verbose=2)

flat = images.reshape(-1, SIZE, SIZE, 1)
writer = np.repeat(np.arange(WRITERS), PER_WRITER)
z = embedder.predict(flat, verbose=0)
gap = ((z[:, None] - z[None]) ** 2).sum(-1)
np.fill_diagonal(gap, np.inf)
print("nearest neighbour of the same writer:", (writer[gap.argmin(1)] == writer).mean())
