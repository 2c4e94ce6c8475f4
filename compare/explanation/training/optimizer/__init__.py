"""The optimizer: its kind and settings, what each step does, and the learning rates to come."""
