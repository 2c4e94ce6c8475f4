"""What stands between two pairs of layers: the operations that a script applies by itself, followed value by value."""
