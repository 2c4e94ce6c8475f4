"""The user's program: what is asked of it, how it is run, how it fails, and what is written down of it."""
