"""The user's files: the copy that is run, the places in them, and what their source says of loops and stopping."""
