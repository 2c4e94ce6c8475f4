"""The first optimizer of a Keras script as observed.json has it: Keras's own, or torch's on that backend."""

from collections.abc import Sequence
from typing import Any

from watch.keras.model.layers import LayerTree, readable


def describe_optimizer(
    optimizers: Sequence[Any], places: dict[int, Any], tree: LayerTree, rate: float | None, scaler: str | None
) -> dict[str, Any] | None:
    """Describes the first of the optimizers that stepped; None if there is none.

    Args:
        optimizers: In the order of their first steps.
        places: Where each was made, by its id.
        tree: The layers whose parameters they move.
        rate: The learning rate of the first step.
        scaler: The class of a loss scale that is not part of the optimizer.
    """
    if not optimizers:
        return None
    outer = optimizers[0]
    inner = getattr(outer, "inner_optimizer", outer)
    described = _of_torch(outer, tree) if hasattr(outer, "param_groups") else _of_keras(optimizers, inner, tree, rate)
    return described | {
        "loss_scale": type(outer).__name__ if outer is not inner else scaler,
        "place": places.get(id(outer)) or places.get(id(inner)),
        "count": len(optimizers),
    }


def _of_keras(optimizers: Sequence[Any], optimizer: Any, tree: LayerTree, rate: float | None) -> dict[str, Any]:
    config = {key: readable(value) for key, value in optimizer.get_config().items() if key != "name"}
    known = [variable for each in optimizers for variable in getattr(each, "_trainable_variables", [])]
    held = config | {"learning_rate": rate if rate is not None else config.get("learning_rate")}
    return {
        "class": type(optimizer).__name__,
        "settings": held,
        "schedule": config["learning_rate"] if isinstance(config.get("learning_rate"), dict) else None,
        "groups": [
            group
            for number, each in enumerate(optimizers)
            for group in _groups(getattr(each, "inner_optimizer", each), tree, held if number == 0 else None, number)
        ],
        "unknown_parameters": _unknown(tree, {tree.path(variable) for variable in known}),
    }


def _groups(optimizer: Any, tree: LayerTree, held: dict[str, Any] | None, number: int) -> list[dict[str, Any]]:
    """One group, or a second one of what `exclude_from_weight_decay` takes out; `held` are the settings, if known."""
    held = held or {key: readable(value) for key, value in optimizer.get_config().items() if key != "name"}
    variables = list(optimizer._trainable_variables)  # noqa: SLF001
    excluded = []
    if optimizer.weight_decay:
        excluded = [v for v in variables if not optimizer._use_weight_decay(v)]  # noqa: SLF001
    groups = [([v for v in variables if not any(v is other for other in excluded)], held)]
    if excluded:
        groups.append((excluded, held | {"weight_decay": 0.0}))
    return [
        {
            "class": type(optimizer).__name__,
            "optimizer": number,
            "rate": number,
            "settings": own,
            "parameters": [tree.path(v) for v in variables],
        }
        for variables, own in groups
    ]


def _of_torch(optimizer: Any, tree: LayerTree) -> dict[str, Any]:
    groups = [
        {
            "settings": {key: value for key, value in group.items() if key != "params"},
            "parameters": [tree.path(parameter) for parameter in group["params"]],
        }
        for group in optimizer.param_groups
    ]
    return {
        "class": type(optimizer).__name__,
        "module": type(optimizer).__module__,
        "settings": groups[0]["settings"],
        "schedule": None,
        "groups": groups,
        "unknown_parameters": _unknown(tree, {path for group in groups for path in group["parameters"]}),
    }


def _unknown(tree: LayerTree, known: set[str | None]) -> list[str | None]:
    """The paths of trainable variables that no optimizer moves."""
    paths = [tree.path(variable) for root in tree.roots for variable in root.trainable_variables]
    return [path for path in paths if path not in known]
