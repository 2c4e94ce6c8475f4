"""Every known difference between Keras 3 and PyTorch, once: what each does, where, how to see it, how to remove it.

Pure data that imports neither framework. `find` returns an entry by its name, `search` those that mention a word.
"""

from differences.catalogue import CATALOGUE, find, search
from differences.entry import Difference, Mend, Place

__all__ = ["CATALOGUE", "Difference", "Mend", "Place", "find", "search"]
