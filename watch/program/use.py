"""A model that is only used: which object of the script it is."""

import inspect
from collections.abc import Callable
from typing import Any

from watch.program.script import Session


def model_of(session: Session, names: dict[str, Any], is_model: Callable[[Any], bool], kind: str) -> Any:
    """The model that the request names: one, or what a function of that name returns.

    Ends the process with a line where there is none.

    Args:
        session: The run.
        names: The script's names.
        is_model: Whether an object is a model of the framework.
        kind: What a model is called, "torch module" for one.
    """
    name, file = session.request.attribute or "", session.request.script.name
    if name not in names:
        listed = ", ".join(known for known, value in names.items() if _offered(known, value, is_model)) or "nothing"
        session.fail(f"{file} has nothing named {name}; models and functions in it: {listed}", "no_model")
    found = names[name]
    if is_model(found):
        return found
    if not callable(found):
        session.fail(f"{name} in {file} is a {type(found).__name__}, not a {kind}", "no_model")
    needed = _needed(found)
    if needed:
        session.fail(
            f"{name}() in {file} needs arguments ({', '.join(needed)}); name a function without any", "no_model"
        )
    made = found()
    if not is_model(made):
        session.fail(f"{name}() in {file} returns a {type(made).__name__}, not a {kind}", "no_model")
    return made


def _offered(name: str, value: Any, is_model: Callable[[Any], bool]) -> bool:
    return not name.startswith("_") and (is_model(value) or inspect.isfunction(value))


def _needed(function: Any) -> list[str]:
    """The arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in optional]
