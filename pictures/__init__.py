"""Pictures of one's own digits: brought into MNIST's form, and shown to a trained network."""
