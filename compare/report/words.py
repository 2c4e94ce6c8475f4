"""How findings are put into words and numbers, the same on the page and in the terminal."""

from collections.abc import Mapping
from typing import Any


def measured(rung: Mapping[str, Any]) -> str:
    """What a rung measured, as people read it; no step of parting is never."""
    return "never" if rung["name"] == "trajectory" and rung["measured"] is None else number(rung["measured"])


def number(value: float | None) -> str:
    """A number of a rung, as people read it."""
    return "none" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def things(results: Mapping[str, Any]) -> str:
    """What the images of the data set are called."""
    return "digits" if results["recipe"].get("dataset", "mnist") in ("mnist", "qmnist") else "images"


def display_name(name: str) -> str:
    """An implementation's name as people read it."""
    return name.capitalize() if name in ("keras", "lightning") else name
