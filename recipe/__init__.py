"""What both implementations agree on: hyperparameters, digits, batch order, initial weights, records.

No framework is imported here: numpy, safetensors and the standard library only.
"""

from recipe.errors import RecipeError
from recipe.recipe import SWITCHES, Recipe

__all__ = ["SWITCHES", "Recipe", "RecipeError"]
