"""A tiny causal character model: token and position embeddings, masked self-attention."""
import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(37)
rng = np.random.default_rng(37)
VOCAB, CONTEXT, WIDTH, HEADS = 27, 10, 24, 3
text = np.cumsum(rng.integers(1, 4, size=4000)) % VOCAB
windows = np.lib.stride_tricks.sliding_window_view(text, CONTEXT + 1)[::8]
x, y = windows[:, :-1], windows[:, 1:]


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.token = layers.Embedding(VOCAB, WIDTH)
        self.position = layers.Embedding(CONTEXT, WIDTH)
        self.norm1 = layers.LayerNormalization()
        self.query = layers.Dense(WIDTH, use_bias=False)
        self.key = layers.Dense(WIDTH, use_bias=False)
        self.value = layers.Dense(WIDTH, use_bias=False)
        self.project = layers.Dense(WIDTH)
        self.norm2 = layers.LayerNormalization()
        self.logits = layers.Dense(VOCAB)

    def split(self, t):
        t = ops.reshape(t, (-1, CONTEXT, HEADS, WIDTH // HEADS))
        return ops.transpose(t, (0, 2, 1, 3))

    def call(self, tokens):
        h = self.token(tokens) + self.position(ops.arange(CONTEXT))
        z = self.norm1(h)
        q, k, v = self.split(self.query(z)), self.split(self.key(z)), self.split(self.value(z))
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / (WIDTH // HEADS) ** 0.5
        future = np.triu(np.ones((CONTEXT, CONTEXT), dtype=bool), k=1)
        scores = ops.where(future, -1e9, scores)
        z = ops.matmul(ops.softmax(scores, axis=-1), v)
        z = ops.reshape(ops.transpose(z, (0, 2, 1, 3)), (-1, CONTEXT, WIDTH))
        h = h + self.project(z)
        return self.logits(self.norm2(h))


model = Model()
model.compile(
    optimizer=keras.optimizers.SGD(0.3, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, batch_size=32, epochs=3, verbose=2)
