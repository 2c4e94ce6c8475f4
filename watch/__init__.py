"""Runs one training script as it is, in a process of its own, and writes down what it saw."""
