"""Losses, penalties, and numbers of theirs that are solved for."""
