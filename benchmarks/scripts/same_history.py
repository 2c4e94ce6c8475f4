"""Is the history of the project's Keras the one of plain `fit`, to the last digit? Same initial weights, same order.

Plain `fit` gets the arrays in the recipe's order of each epoch, and takes one step per execution.
"""

import json

from benchmarks.scripts.clock import options
from keras_impl import backend
from recipe import Recipe
from recipe.batch_order import epoch_order
from recipe.mnist import load


def main() -> None:
    """Trains both and prints a line of JSON: whether they are identical, and both histories."""
    arguments = options(__doc__).parse_args()
    recipe = Recipe(epochs=arguments.epochs)
    digits = load()
    backend.select("tensorflow", arguments.device, recipe)
    # These import keras, whose backend is chosen now.
    import keras
    import numpy as np

    from keras_impl import data, training
    from keras_impl.model import build_model
    from keras_impl.weights import get_weights, set_weights
    from recipe.initial_weights import initial_weights

    ours = training.compile_model(recipe)
    training.fit(ours, recipe, digits, callbacks=[])

    plain = build_model(recipe)
    set_weights(plain, initial_weights(recipe))
    plain.compile(optimizer=keras.optimizers.Adam(), loss="categorical_crossentropy", metrics=["accuracy"])
    x, y = data.preprocess(digits.x_train, digits.y_train, recipe)
    plain_history: dict[str, list[float]] = {}
    for epoch in range(recipe.epochs):
        order = epoch_order(recipe.seed, epoch, len(x))
        fitted = plain.fit(
            x[order],
            y[order],
            batch_size=recipe.batch_size,
            shuffle=False,
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=data.preprocess(digits.x_test, digits.y_test, recipe),
            validation_batch_size=data.EVALUATION_BATCH_SIZE,
            verbose=0,
        )
        for key, values in fitted.history.items():
            plain_history.setdefault(key, []).extend(values)

    history, weights, plain_weights = ours.history.history, get_weights(ours), get_weights(plain)
    result = {
        "identical_history": history == plain_history,
        "identical_weights": all(np.array_equal(weights[name], plain_weights[name]) for name in weights),
        "history": history,
        "plain_history": plain_history,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
