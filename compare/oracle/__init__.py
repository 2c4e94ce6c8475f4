"""One step of the network in float64 NumPy, and how far rounding can carry it."""
