"""Signatures of faults: what a wrong number would be if a known cause had made it."""
