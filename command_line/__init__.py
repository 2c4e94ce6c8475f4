"""What the command lines of the three programs share: a table of commands, the recipe's options, one-line errors."""
