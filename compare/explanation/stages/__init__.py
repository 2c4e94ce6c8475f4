"""The stages of a training, each of which finds what differs in it."""
