"""Loss, gradients, optimizer and loop, and what is stated only."""
