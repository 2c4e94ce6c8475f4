"""Why initial weights and the forward pass are not what they should be."""
