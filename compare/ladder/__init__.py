"""The nine rungs, from settings to outcome."""
