"""Is the loss the same, where it is differentiated?"""
