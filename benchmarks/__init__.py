"""Measurements that the documents show; not tests."""
