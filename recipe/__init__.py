"""What both implementations agree on: hyperparameters, digits, batch order, initial weights, records.

No framework is imported here: numpy, safetensors and the standard library only.
"""

from recipe.settings import SWITCHES, Recipe, RecipeError

__all__ = ["SWITCHES", "Recipe", "RecipeError"]
