"""A Keras model, its losses and its numbers: calls, layers, parameters, precision, noise."""
