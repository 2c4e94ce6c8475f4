"""Starts the watchers and waits for them."""
