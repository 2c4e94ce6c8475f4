"""The documents and pictures that show what was measured."""
