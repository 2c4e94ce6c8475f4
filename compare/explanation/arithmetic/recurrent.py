"""Recurrent layers and attention, in torch's layout of weights, samples first."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from compare.explanation.observed.observation import Array
from compare.explanation.operations.activations import Activation, by_name


def _activation(name: Any) -> Activation | None:
    return by_name(str(name))


def run(kind: str, x: Array, weights: Mapping[str, Array], settings: Mapping[str, Any]) -> Array | None:
    """All outputs of a recurrent layer, of one level and one or both directions.

    Args:
        kind: `LSTM`, `GRU` or `simple RNN`.
        x: (samples, time, features).
        weights: `weight_ih_l0` and so on, in torch's order of gates.
        settings: As `settings_of` gives them.

    Returns:
        (samples, time, units), both directions joined; None if a setting is not known.
    """
    levels = sorted({name.split("_l")[1].removesuffix("_reverse") for name in weights if name.startswith("weight_ih")})
    for level in levels:
        parts = []
        for suffix in (f"l{level}", f"l{level}_reverse"):
            if f"weight_ih_{suffix}" not in weights:
                continue
            backwards = suffix.endswith("reverse") != bool(settings.get("backwards"))
            out = _direction(kind, x[:, ::-1] if backwards else x, weights, suffix, settings)
            if out is None:
                return None
            parts.append(out[:, ::-1] if suffix.endswith("reverse") else out)
        x = np.concatenate(parts, axis=-1)
    return x


def _direction(
    kind: str, x: Array, weights: Mapping[str, Array], suffix: str, settings: Mapping[str, Any]
) -> Array | None:
    inner, gate = _activation(settings.get("activation")), _activation(settings.get("recurrent activation"))
    if inner is None or gate is None:
        return None
    from_input, from_state = weights[f"weight_ih_{suffix}"], weights[f"weight_hh_{suffix}"]
    bias = weights.get(f"bias_ih_{suffix}", np.zeros(len(from_input)))
    state_bias = weights.get(f"bias_hh_{suffix}", np.zeros(len(from_input)))
    units = from_state.shape[1]
    state = cell = np.zeros((len(x), units))
    outputs = []
    for t in range(x.shape[1]):
        a, b = x[:, t] @ from_input.T + bias, state @ from_state.T + state_bias
        if kind == "LSTM":
            i, f, g, o = np.split(a + b, 4, axis=1)
            cell = gate(f) * cell + gate(i) * inner(g)
            state = gate(o) * inner(cell)
        elif kind == "GRU":
            (ra, za, na), (rb, zb, nb) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
            r, z = gate(ra + rb), gate(za + zb)
            if not settings.get("reset after", True):
                nb = (r * state) @ np.split(from_state, 3)[2].T
                new = inner(na + nb)
            else:
                new = inner(na + r * nb)
            state = (1 - z) * new + z * state
        else:
            state = inner(a + b)
        outputs.append(state)
    return np.stack(outputs, axis=1)


def attention(
    query: Array,
    key: Array,
    value: Array,
    weights: Mapping[str, Array],
    heads: int,
    *,
    causal: bool = False,
    scale: float | None = None,
    over_queries: bool = False,
    masked: Array | None = None,
) -> Array:
    """Multi-head attention.

    Args:
        query: (samples, time, features).
        key: The same, with a time of its own.
        value: As the key.
        weights: `query.kernel`, `query.bias` and so on of (out, in), for query, key, value and output.
        heads: The number of heads.
        causal: Whether a place sees only those before it.
        scale: What the products are multiplied by; left out, 1 over the root of a head's size.
        over_queries: Whether the softmax goes over the queries, where it should go over the keys.
        masked: True for what no place sees, of a shape that spreads to (samples, heads, queries, keys). A place that
            sees nothing gives NaN, as in torch.
    """

    def projected(x: Array, part: str) -> Array:
        out = x @ weights[f"{part}.kernel"].T + weights.get(f"{part}.bias", 0.0)
        return np.moveaxis(out.reshape(*out.shape[:2], heads, -1), 2, 1)

    q, k, v = projected(query, "query"), projected(key, "key"), projected(value, "value")
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    if masked is not None:
        scores = np.where(masked, -np.inf, scores)
    mixed = np.moveaxis(special.softmax(scores, axis=-2 if over_queries else -1) @ v, 1, 2)
    joined = mixed.reshape(*mixed.shape[:2], -1)
    return np.asarray(joined @ weights["output.kernel"].T + weights.get("output.bias", 0.0))
