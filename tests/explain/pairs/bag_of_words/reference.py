import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(5)
words = np.array("good bad fine awful great dull bright sad happy poor film plot actor scene story".split())
rng = np.random.default_rng(5)
texts = [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(320)]
labels = np.array([("good" in t) ^ ("bad" in t) for t in texts]).astype("float32")
vectorize = layers.TextVectorization(max_tokens=50, output_sequence_length=12, vocabulary=list(words))
ids = np.asarray(vectorize(np.array(texts)))
model = keras.Sequential([
    layers.Embedding(17, 8, mask_zero=True),
    layers.GlobalAveragePooling1D(),
    layers.Dense(16, activation="relu"),
    layers.Dropout(0.3),
    layers.Dense(1, activation="sigmoid"),
])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(ids, labels, batch_size=32, epochs=3, verbose=0)
print(model.evaluate(ids, labels, verbose=0))
