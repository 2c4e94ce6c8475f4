# character language model with a stateful GRU (state carried from chunk to chunk, reset each epoch)
import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(99)

# ---------------------------------------------------------------- text
rng = np.random.default_rng(99)
names = ["anna", "boris", "carla", "dmitri", "elena"]
verbs = ["sees", "likes", "calls", "follows"]
text = ""
while len(text) < 6500:
    who, whom = rng.choice(names, 2, replace=False)
    text += f"{who} {rng.choice(verbs)} {whom}. {whom} waves at {who}. "
chars = sorted(set(text))
ids = np.array([chars.index(c) for c in text])
V = len(chars)

# ---------------------------------------------------------------- chunks
B, T = 16, 20
steps = (len(ids) - 1) // (B * T)
x = ids[: B * T * steps].reshape(B, steps, T)
y = ids[1 : B * T * steps + 1].reshape(B, steps, T)
# row k of batch i+1 goes on where row k of batch i ended
x = x.transpose(1, 0, 2).reshape(steps * B, T)
y = y.transpose(1, 0, 2).reshape(steps * B, T)

# ---------------------------------------------------------------- model
inputs = keras.Input(batch_shape=(B, T), dtype="int32")
h = layers.Lambda(lambda t: ops.one_hot(t, V), output_shape=(T, V))(inputs)
gru = layers.GRU(48, return_sequences=True, stateful=True)
h = gru(h)
h = layers.LayerNormalization()(h)
outputs = layers.Dense(V)(h)
model = keras.Model(inputs, outputs)

schedule = keras.optimizers.schedules.ExponentialDecay(5e-3, decay_steps=2 * steps, decay_rate=0.7, staircase=True)
model.compile(
    optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)


class ResetStates(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        gru.reset_state()


history = model.fit(x, y, batch_size=B, epochs=10, shuffle=False, callbacks=[ResetStates()], verbose=2)
print("perplexity", float(np.exp(history.history["loss"][-1])))
