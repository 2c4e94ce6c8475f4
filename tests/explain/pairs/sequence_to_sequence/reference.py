import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(1)
VOCAB, DIM, HEADS, LENGTH = 20, 16, 2, 6
rng = np.random.default_rng(0)
source = rng.integers(1, VOCAB, (256, LENGTH))
target = source[:, ::-1].copy()
target_in = np.concatenate([np.ones((256, 1), int), target[:, :-1]], axis=1)


class Positional(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.tokens = layers.Embedding(VOCAB, DIM)
        self.positions = layers.Embedding(LENGTH, DIM)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(LENGTH))


class Decoder(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.own = layers.MultiHeadAttention(HEADS, DIM // HEADS)
        self.cross = layers.MultiHeadAttention(HEADS, DIM // HEADS)
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(3)]
        self.wide = layers.Dense(32, activation="relu")
        self.narrow = layers.Dense(DIM)

    def call(self, x, memory):
        x = self.norms[0](x + self.own(x, x, use_causal_mask=True))
        x = self.norms[1](x + self.cross(x, memory))
        return self.norms[2](x + self.narrow(self.wide(x)))


encoder_in = layers.Input((LENGTH,), dtype="int32")
decoder_in = layers.Input((LENGTH,), dtype="int32")
memory = Positional()(encoder_in)
x = Positional()(decoder_in)
x = Decoder()(x, memory)
outputs = layers.Dense(VOCAB)(x)
model = keras.Model([encoder_in, decoder_in], outputs)
model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit([source, target_in], target, batch_size=32, epochs=2, verbose=0)
print(model.evaluate([source, target_in], target, verbose=0))
