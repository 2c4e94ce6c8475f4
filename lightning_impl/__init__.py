"""The dense MNIST network as a PyTorch LightningModule."""
