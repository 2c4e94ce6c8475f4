"""What is seen of a script that uses Keras, on any of its backends."""
