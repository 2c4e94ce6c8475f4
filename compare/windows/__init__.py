"""Rungs 2 to 7 all the way through: what each judged training leaves of itself, from its first step to its last."""
