# Sequence to sequence with LSTMs and teacher forcing: learn to sort-of-reverse short digit strings
import os

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers

PAD, BOS, EOS, OFFSET = 0, 1, 2, 3
VOCAB = 13
MAX_LEN = 7
UNITS = 40

keras.utils.set_random_seed(2024)

# data: source is a list of digits, target is the reversed list where every digit is shifted by one
rng = np.random.default_rng(2024)
sources = [rng.integers(0, 10, rng.integers(3, MAX_LEN + 1)) for _ in range(600)]
encoder_input = np.zeros((600, MAX_LEN), dtype="int32")
decoder_input = np.zeros((600, MAX_LEN + 1), dtype="int32")
decoder_target = np.zeros((600, MAX_LEN + 1), dtype="int32")
for i, s in enumerate(sources):
    t = (s[::-1] + 1) % 10
    n = len(s)
    encoder_input[i, :n] = s + OFFSET
    decoder_input[i, : n + 1] = [BOS, *(t + OFFSET)]
    decoder_target[i, : n + 1] = [*(t + OFFSET), EOS]

# encoder
enc_in = keras.Input((MAX_LEN,), name="source")
x = layers.Embedding(VOCAB, 20, mask_zero=True)(enc_in)
_, state_h, state_c = layers.LSTM(UNITS, return_state=True)(x)

# decoder
dec_in = keras.Input((MAX_LEN + 1,), name="target_in")
x = layers.Embedding(VOCAB, 20, mask_zero=True)(dec_in)
x = layers.LSTM(UNITS, return_sequences=True)(x, initial_state=[state_h, state_c])
logits = layers.Dense(VOCAB)(x)

model = keras.Model([enc_in, dec_in], logits)
model.compile(
    keras.optimizers.Adam(0.01),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit([encoder_input, decoder_input], decoder_target, batch_size=50, epochs=12, validation_split=0.1, verbose=2)
print(dict(zip(model.metrics_names, model.evaluate([encoder_input[540:], decoder_input[540:]], decoder_target[540:], verbose=0))))
