"""The data as fed, and their order."""
