"""The recipe: what the user asks for. Parsed once, at the start; all mistakes are reported together, with their positions."""

from rt2data.plan.recipe.messages import Mistake, RecipeError
from rt2data.plan.recipe.model import Recipe, canonical, from_canonical, recipe_model
from rt2data.plan.recipe.read import parse_recipe, read_recipe

__all__ = ["Mistake", "Recipe", "RecipeError", "canonical", "from_canonical", "parse_recipe", "read_recipe", "recipe_model"]
