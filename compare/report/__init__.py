"""Findings as a terminal and a page show them."""
