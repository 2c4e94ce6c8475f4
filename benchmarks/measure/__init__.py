"""How they are timed."""
