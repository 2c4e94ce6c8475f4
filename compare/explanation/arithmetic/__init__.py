"""What layers compute, in NumPy and float64: to find out by values what a program does."""
