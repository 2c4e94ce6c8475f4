"""Causes of an optimizer step that is off: what of Adam is otherwise, or which optimizer it is instead.

A cause of one of the three, first moment, second moment and parameter, counts only if what is wrong with the other two
is explained too. Optimizers that keep other moments than Adam are in `compare/causes/learning/rules.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from compare.causes.learning.moments import CHANGING_BETA, CORRECTED, betas_by_step, of_first_moment, of_second_moment
from compare.causes.learning.rules import of_another_optimizer
from compare.causes.learning.state import Betas, OptimizerState, States
from compare.causes.learning.steps import of_other_steps
from compare.causes.learning.updates import of_parameter
from compare.causes.signatures import (
    Evidence,
    Hypothesis,
    all_accepted,
    all_kept_in,
    as_noise,
    ratio,
)
from compare.oracle.network import Array


def of_optimizer(states: States, index: int, name: str) -> str | None:
    """Why moments or parameters are off; those of `name` in step `index` (from 0) are the first."""
    all_states = [state for of_parameter in states.values() for state in of_parameter]
    evidence = {
        "first moment": _evidence(states, lambda s: (s.first, s.adams_first(), s.first_bound())),
        "second moment": _evidence(states, lambda s: (s.second, s.adams_second(), s.second_bound())),
        "parameter": _evidence(states, _of_update),
    }
    state = states[name][min(index, len(states[name]) - 1)]
    if not np.isfinite(state.first).all() or not np.isfinite(state.after).all():
        return "the numbers are not finite"
    if (still := _not_moving(states, evidence)) is not None:
        return still
    if (several := of_other_steps(states, evidence)) is not None:
        return several
    resting = _moments_rest(all_states)
    causes = None if resting else _of_adam(states, evidence)
    if causes is None:
        # What a rule remembers is known as long as step follows step.
        moved = {name: [(s.before, s.gradient, s.after) for s in _in_a_row(of)] for name, of in states.items()}
        causes = of_another_optimizer(moved, state.rounding.unit, state.adam)
    if causes is None and resting:
        causes = (
            "not Adam, whose moments stay as they were while the parameters move; these steps do not tell what else"
        )
    if causes is None:
        wrong = next((part for part in evidence.values() if any(not one.is_right for one in part)), None)
        kept = wrong and all_kept_in([one for one in wrong if not one.is_right], double=all_states[0].double)
        causes = kept or None
        if not kept and wrong is evidence["parameter"]:
            # A parameter is off by as much as its update is; a few hundred numbers of the largest tell noise.
            largest = max((one for one in wrong if not one.is_right), key=lambda one: one.recorded.size).tensor
            of_largest = [one for one in wrong if one.tensor == largest]
            causes = as_noise(of_largest, "the updates", " to the updates", lambda one: one.given.after)
    return causes


def _moments_rest(states: Sequence[OptimizerState]) -> bool:
    """Whether no moment changes, in steps that have gradients and move parameters."""
    return (
        all((s.first == s.first_before).all() and (s.second == s.second_before).all() for s in states)
        and any(s.gradient.any() for s in states)
        and any((s.before != s.after).any() for s in states)
    )


def _in_a_row(states: Sequence[OptimizerState]) -> Sequence[OptimizerState]:
    """The first states, up to a step that is not recorded."""
    count = next((n for n in range(1, len(states)) if states[n].step != states[n - 1].step + 1), len(states))
    return states[:count]


def _evidence(states: States, values: Callable[[OptimizerState], tuple[Array, Array, Array]]) -> list[Evidence]:
    """Of every state what `values` gives: recorded, expected, and the rounding error bound."""
    return [
        Evidence(s.step, name, *values(s), s.rounding.unit, s)
        for name, of_parameter in states.items()
        for s in of_parameter
    ]


def _of_update(s: OptimizerState) -> tuple[Array, Array, Array]:
    return s.before - s.after, s.adams_update(), s.update_bound()


def _not_moving(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """Parameters that the optimizer leaves alone in all steps, if all the others are right."""
    moved = {name: any((s.before != s.after).any() for s in of_parameter) for name, of_parameter in states.items()}
    still = [name for name, moves in moved.items() if not moves and any(s.gradient.any() for s in states[name])]
    if not still:
        return None
    if any(not one.is_right for part in evidence.values() for one in part if one.tensor not in still):
        return None
    zero = [name for name in still if not any(s.first.any() for s in states[name])]
    which = "" if len(still) == 1 else f" ({', '.join(still)})"
    if len(zero) == len(states):
        return "no moment and no parameter moves: the gradients are zero when the optimizer steps, or it never does"
    if len(zero) == len(still):
        return f"the moment stays zero: the optimizer does not know the parameter{which}"
    return f"the parameter does not move: its update is not applied{which}"


def _of_adam(states: States, evidence: Mapping[str, Sequence[Evidence]]) -> str | None:
    """What of Adam is otherwise; None where one of first moment, second moment and parameter stays unexplained."""
    causes: list[str] = []
    betas: Betas = {}
    for part, hypotheses in (("first moment", of_first_moment), ("second moment", of_second_moment)):
        if all(one.is_right for one in evidence[part]):
            continue
        cause = _named(evidence[part], hypotheses)
        if cause is None:
            return None
        if cause not in causes:
            causes.append(cause)
        betas |= _found_beta(part, cause, evidence[part])
    parameter = evidence["parameter"]
    corrected = any(cause.startswith(CORRECTED) for cause in causes)
    if corrected or (betas and any(not one.is_right for one in parameter)):
        others = {name: [_as_found(s, betas, corrected=corrected) for s in of] for name, of in states.items()}
        parameter = _evidence(others, _of_update)
    if any(not one.is_right for one in parameter):
        cause = _named(parameter, of_parameter)
        if cause is None:
            return None
        causes.append(cause)
    return "; ".join(_once(causes)) or None


def _once(causes: Sequence[str]) -> list[str]:
    """Without what is said of both moments."""
    return list(dict.fromkeys(causes))


def _as_found(s: OptimizerState, betas: Betas, *, corrected: bool) -> OptimizerState:
    """A state with the β that the moments have, and the first moment as it was before it was corrected."""
    now = {name: beta if isinstance(beta, float) else beta[s.step] for name, beta in betas.items()}
    adam = s.adam._replace(beta_1=now.get("beta_1", s.adam.beta_1), beta_2=now.get("beta_2", s.adam.beta_2))
    first = s.first * (1 - adam.beta_1**s.step) if corrected else s.first
    return replace(s, adam=adam, first=first)


def _found_beta(part: str, cause: str, evidence: Sequence[Evidence]) -> Betas:
    """The β that a cause speaks of, as exactly as the evidence has it."""
    symbol, key = ("β₁", "beta_1") if part == "first moment" else ("β₂", "beta_2")
    if cause.startswith(CHANGING_BETA):
        return {"beta_1": betas_by_step(evidence)}
    if not cause.startswith(f"{symbol} is "):
        return {}
    said = float(cause.split()[2].rstrip(",;"))
    if not 0 <= said < 1:
        return {}

    def taken_in(s: OptimizerState) -> tuple[Array, Array, Array]:
        """The moment before and after the step, and what it takes in."""
        return (s.first_before, s.first, s.gradient) if key == "beta_1" else (s.second_before, s.second, s.gradient**2)

    def left(beta: float) -> float:
        parts = [(one, *taken_in(one.given)) for one in evidence]
        return max(
            one.left_by(beta * before + (1 - beta) * taken) for one, before, _, taken in parts if not one.is_right
        )

    # What the words round matters in float64: a β may be the decimal number, that in float32, or none of the two.
    before, after, taken = taken_in(max(evidence, key=lambda one: one.recorded.size).given)
    found = min((said, float(np.float32(said)), 1 - ratio(after - before, taken - before)), key=left)
    if not re.search(r", (from|up to|in) (the )?steps? ", cause):
        return {key: found}
    stated = getattr(evidence[0].given.adam, key)
    wrong = {one.step for one in evidence if not one.is_right}
    return {key: {one.step: found if one.step in wrong else stated for one in evidence}}


def _named(
    evidence: Sequence[Evidence], hypotheses: Callable[[Sequence[Evidence], Evidence], Iterator[Hypothesis]]
) -> str | None:
    """The cause of all that deviates, or those of each parameter."""
    wrong = [one for one in evidence if not one.is_right]
    # The first step that is off, of its largest parameter: what numbers are fitted to.
    first = max((one for one in wrong if one.step == wrong[0].step), key=lambda one: one.recorded.size)
    if fitting := all_accepted(evidence, hypotheses(evidence, first)):
        return _joined([one.cause for one in fitting], one_step=len({one.step for one in evidence}) == 1)
    by_cause: dict[str, list[str]] = {}
    for name in dict.fromkeys(one.tensor for one in wrong):
        of_tensor = [one for one in evidence if one.tensor == name]
        start = next(one for one in of_tensor if not one.is_right)
        fitting = all_accepted(of_tensor, hypotheses(of_tensor, start))
        if not fitting:
            return None
        by_cause.setdefault(_joined([one.cause for one in fitting], one_step=len(of_tensor) == 1), []).append(name)
    if len(by_cause) == 1:
        return next(iter(by_cause))
    return "; ".join(f"{', '.join(names)}: {cause}" for cause, names in by_cause.items())


def _joined(causes: Sequence[str], *, one_step: bool) -> str:
    return " – or ".join(causes) + (": one step cannot tell" if causes[1:] and one_step else "")
