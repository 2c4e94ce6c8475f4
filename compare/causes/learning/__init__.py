"""Why gradients and updates are not what they should be."""
