"""The dense MNIST network in Keras 3, on its TensorFlow, torch or JAX backend."""
