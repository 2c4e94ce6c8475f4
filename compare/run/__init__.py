"""Runs implementations in processes of their own."""
