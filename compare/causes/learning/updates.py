"""Causes of updates that are off, given their moments: another form of Adam, or another optimizer of its moments."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from compare.causes.learning.state import OptimizerState, by_step, twice_rounded
from compare.causes.signatures import (
    ENOUGH_NUMBERS,
    Evidence,
    Hypothesis,
    ratio,
    rounded,
    see,
)
from compare.oracle.network import Array
from recipe.recipe import KERAS_EPSILON


def of_parameter(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """What else a step may subtract, given the moments."""

    def h(cause: str, predict: Callable[[OptimizerState], Array], *, fitted: int = 0) -> Hypothesis:
        return Hypothesis(cause, lambda one: predict(one.given), fitted)

    yield from (h(*one) for one in _other_epsilons(first))
    yield from (h(*one) for one in _other_corrections(first.given))
    yield from _counted_by_tensor(evidence)
    largest_second: dict[tuple[str, int], Array] = {}
    for one in sorted(evidence, key=lambda one: one.step):
        before = largest_second.get((one.tensor, one.step - 1), one.given.second_before)
        largest_second[one.tensor, one.step] = np.maximum(before, one.given.second)
    for form in (_keras, _torch):
        for epsilon in dict.fromkeys((first.given.adam.epsilon, 1e-8, 1e-7)):
            words = (
                ""
                if form is _keras and epsilon == first.given.adam.epsilon
                else f", in {_form(form)}'s form with ε = {epsilon:g}"
            )
            yield Hypothesis(
                f"the largest second moment so far is used (AMSGrad){words}",
                lambda one, form=form, epsilon=epsilon: form(
                    one.given, one.given.first, largest_second[one.tensor, one.step], epsilon
                ),
            )
    largest_corrected: dict[tuple[str, int], Array] = {}
    for one in sorted(evidence, key=lambda one: one.step):
        before = largest_corrected.get((one.tensor, one.step - 1), 0 * one.given.second)
        largest_corrected[one.tensor, one.step] = np.maximum(before, one.given.second / _corrections(one.given)[1] ** 2)
    for epsilon in dict.fromkeys((first.given.adam.epsilon, 1e-8, 1e-7)):
        yield Hypothesis(
            f"the largest corrected second moment so far is used (AMSGrad), with ε = {epsilon:g} behind the root",
            lambda one, epsilon=epsilon: (
                one.given.adam.learning_rate
                / _corrections(one.given)[0]
                * one.given.first
                / (np.sqrt(largest_corrected[one.tensor, one.step]) + epsilon)
            ),
        )
    yield from (h(*one) for one in _other_optimizers(first.given))
    for cause, predict in _fitted(first):
        terms = twice_rounded if "decay" in cause else None
        yield Hypothesis(cause, lambda one, predict=predict: predict(one.given), _numbers(cause), terms=terms)
    yield from _put_back(evidence, first)
    yield from _half_way(first)
    yield from _zeroed(evidence)
    yield from _on_a_grid(evidence)
    yield from _lookahead(evidence, first)
    yield from _averaged(evidence, first)
    yield from _schedules(evidence, first)


def _numbers(cause: str) -> int:
    """How many things are chosen to fit: the optimizer or its form, its rate, its decay; more digits are one more."""
    choices = ("rate is", "rate of", "decay of", "not Adam", "form", "inside the root", "after the update")
    chosen = sum(word in cause for word in choices)
    rate = re.search(r"rate is ([\d.e+-]+)", cause)
    return chosen + (rate is not None and float(f"{float(rate[1]):.3g}") != float(rate[1]))


def _put_back(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """A parameter that is as it was before an earlier step: a head that is loaded again, the best weights restored."""
    before = {(one.tensor, one.step): one.given.before for one in evidence}
    earliest = min(one.step for one in evidence)
    for step in range(earliest, first.step):
        words = "its initial numbers" if step == 1 else f"the numbers that it had before step {step}"
        yield Hypothesis(
            f"after the update the parameter is put back to {words}",
            lambda one, step=step: one.given.before - before.get((one.tensor, step), np.nan),
        )


def _half_way(first: Evidence) -> Iterator[Hypothesis]:
    """Parameters that are averaged with those before the update, which rounds them once more."""
    share = float(f"{ratio(first.recorded, first.expected):.3g}")
    if 0 < share < 1:
        yield Hypothesis(
            f"after the update the parameters go back {1 - share:.3g} of the way: averaged with those before it",
            lambda one: share * one.expected,
            fitted=2,
            terms=lambda one: 2 * twice_rounded(one),
        )


def _zeroed(evidence: Sequence[Evidence]) -> Iterator[Hypothesis]:
    """Entries that are set to zero after each update, the same ones every time: a pruned unit."""
    wrong = [one for one in evidence if not one.is_right]
    masks = {name: [one.given.after == 0 for one in wrong if one.tensor == name] for name in {o.tensor for o in wrong}}
    if not all(found[0].any() and all((mask == found[0]).all() for mask in found) for found in masks.values()):
        return
    share = sum(int(found[0].sum()) for found in masks.values()) / sum(found[0].size for found in masks.values())
    yield Hypothesis(
        f"{share:.2g} of the parameter's numbers are set to zero after the update: pruned",
        lambda one: (
            np.where(masks[one.tensor][0], one.given.before, one.expected) if one.tensor in masks else one.expected
        ),
        fitted=1,
    )


def _on_a_grid(evidence: Sequence[Evidence]) -> Iterator[Hypothesis]:
    """Parameters that are multiples of a power of two after each update: in fixed point."""
    wrong = [one for one in evidence if not one.is_right]
    for bits in range(4, 21):
        grid = 2.0**-bits
        if all((one.given.after / grid == np.round(one.given.after / grid)).all() for one in wrong):

            def predict(one: Evidence, grid: float = grid) -> Array:
                # Which neighbour a number half-way between two goes to is rounding's to say.
                near = np.abs(one.recorded - one.expected) <= grid * (0.5 + 1e-3)
                return np.where(near, one.recorded, one.expected)

            name = f"after the update the parameter is rounded to multiples of 2^-{bits}: it is kept in fixed point"
            yield Hypothesis(name, predict, fitted=1)
            return


Named = tuple[str, Callable[[OptimizerState], Array]]


def _corrections(state: OptimizerState, dtype: str = "float64") -> tuple[float, float]:
    """1 − β₁ᵗ and √(1 − β₂ᵗ), the powers in a dtype: torch's are double, Keras's the parameter's."""
    real = np.dtype(dtype).type
    power_1, power_2 = (float(real(beta) ** real(state.step)) for beta in (state.adam.beta_1, state.adam.beta_2))
    return 1 - power_1, float(np.sqrt(1 - power_2))


def _keras(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    return s.adam._replace(epsilon=epsilon).update(first, second, s.step)


def _torch(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    correction_1, correction_2 = _corrections(s)
    return s.adam.learning_rate / correction_1 * first / (np.sqrt(second) / correction_2 + epsilon)


def _form(form: Callable[..., Array]) -> str:
    return "torch" if form is _torch else "Keras"


def _other_epsilons(first: Evidence) -> Iterator[Named]:
    adam = first.given.adam

    def after(s: OptimizerState, epsilon: float) -> Array:
        return _torch(s, s.first, s.second, epsilon)

    def before(s: OptimizerState, epsilon: float) -> Array:
        return _keras(s, s.first, s.second, epsilon)

    def inside(s: OptimizerState, epsilon: float) -> Array:
        return s.adam.step_size(s.step) * s.first / np.sqrt(s.second + epsilon)

    def inside_corrected(s: OptimizerState, epsilon: float) -> Array:
        correction_1, correction_2 = _corrections(s)
        return adam.learning_rate / correction_1 * s.first / np.sqrt(s.second / correction_2**2 + epsilon)

    for form, words in (
        (
            after,
            "ε is added after the bias correction, as torch does, not before it as Keras does"
            + see("adam-epsilon-place"),
        ),
        (inside, "ε is added inside the root, √(v + ε), not behind it"),
        (inside_corrected, "ε is added inside the root of the corrected moment, not behind it"),
    ):
        for other in dict.fromkeys((adam.epsilon, *_USUAL_EPSILONS)):
            same = "" if other == adam.epsilon else f", and is {other:g} instead of {adam.epsilon:g}"
            yield words + same, partial(form, epsilon=other)
    yield (
        "ε is a floor: the update is divided by the larger of the root and ε, not by their sum",
        lambda s: s.adam.step_size(s.step) * s.first / np.maximum(np.sqrt(s.second), adam.epsilon),
    )
    solved = _solve_epsilon(first)
    for other in dict.fromkeys(
        (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-10, 1e-12, 0.0, float(f"{solved:.3g}"), solved)
    ):
        text, stated = f"{other:.3g}", f"{adam.epsilon:.3g}"
        if text != stated and other >= 0:
            said = see("adam-epsilon") if {text, stated} == {"1e-08", "1e-07"} else ""
            yield f"ε is {text} instead of {stated}{said}", partial(before, epsilon=other)


def _solve_epsilon(first: Evidence) -> float:
    """The ε of α·m / (√v + ε) that most entries agree on."""
    state: OptimizerState = first.given
    with np.errstate(all="ignore"):
        alpha = state.adam.step_size(state.step)
        each = alpha * state.first / first.recorded - np.sqrt(state.second)
    each = each[np.isfinite(each)]
    return float(np.median(each)) if each.size else 0.0


def _other_corrections(state: OptimizerState) -> Iterator[Named]:
    def without(s: OptimizerState, *, first: bool, second: bool) -> Array:
        correction_1, correction_2 = _corrections(s, s.adam.power_dtype)
        return s.adams_update() * (correction_1 if first else 1) / (correction_2 if second else 1)

    yield "there is no bias correction", partial(without, first=True, second=True)
    yield "the first moment has no bias correction", partial(without, first=True, second=False)
    yield "the second moment has no bias correction", partial(without, first=False, second=True)

    def by_other_powers(s: OptimizerState) -> Array:
        correction_1, correction_2 = _corrections(s, s.adam.power_dtype)
        return s.adams_update() * correction_1 / correction_2 * np.sqrt(correction_1) / correction_2**2

    def multiplied(s: OptimizerState) -> Array:
        correction_1, correction_2 = _corrections(s, s.adam.power_dtype)
        return s.adams_update() * (correction_1 / correction_2) ** 2

    yield (
        "the bias correction of the second moment lacks its root: 1 − β₂ᵗ instead of √(1 − β₂ᵗ)",
        lambda s: s.adams_update() * _corrections(s, s.adam.power_dtype)[1],
    )
    yield "the bias corrections have β₁ and β₂ the other way round", by_other_powers
    yield "the bias corrections multiply where they should divide, and divide where they should multiply", multiplied
    adam = state.adam
    rounded = adam._replace(beta_1=float(np.float32(adam.beta_1)), beta_2=float(np.float32(adam.beta_2)))
    name = "the bias correction takes β rounded to float32, as Keras does on TensorFlow in float64"
    yield name + see("constants-float32"), lambda s: rounded.update(s.first, s.second, s.step)
    if state.step > 1:
        last = state.step - 1
        yield (
            f"the bias correction stays that of step {last} in all later steps",
            lambda s: s.adam.update(s.first, s.second, min(s.step, last)),
        )
    for offset in (1, -1, 2, 10):
        yield (
            f"the step counter is off by {offset:+d}",
            lambda s, offset=offset: s.adam.update(s.first, s.second, max(s.step + offset, 1)),
        )
    if state.step > 1:
        again = state.step - 1
        name = f"the step counter starts from 1 again in step {state.step}"
        yield name, lambda s: s.adam.update(s.first, s.second, s.step - again if s.step > again else s.step)
    yield "the step counter stays at 1", lambda s: s.adam.update(s.first, s.second, 1)

    def without_root(s: OptimizerState) -> Array:
        correction_1, correction_2 = _corrections(s)
        return adam.learning_rate / correction_1 * s.first / (s.second / correction_2**2 + adam.epsilon)

    yield "the root of the second moment is not taken", without_root
    yield "the parameters go up the gradient: the update has the wrong sign", lambda s: -s.adams_update()


def _counted_by_tensor(evidence: Sequence[Evidence]) -> Iterator[Hypothesis]:
    """A step counter that goes up with every parameter tensor: each is corrected as if it were so many steps on."""
    names = list(dict.fromkeys(one.tensor for one in evidence))
    if len(names) == 1:
        return
    for order in (names, names[::-1]):
        place = {name: number for number, name in enumerate(order, 1)}
        yield Hypothesis(
            "the step counter goes up once for every parameter tensor, not once in a step",
            lambda one, place=place: one.given.adam.update(
                one.given.first, one.given.second, len(place) * (one.given.step - 1) + place[one.tensor]
            ),
        )


def _other_optimizers(state: OptimizerState) -> Iterator[Named]:
    """Optimizers that keep Adam's two moments and make another update of them."""
    adam = state.adam
    rate = adam.learning_rate
    yield (
        "the update takes the first moment of the step before",
        lambda s: adam.update(s.first_before, s.second, s.step),
    )
    yield "the optimizer is plain gradient descent", lambda s: rate * s.gradient
    yield "the optimizer is gradient descent with the first moment", lambda s: rate * s.first
    yield "the optimizer takes the sign of the first moment", lambda s: rate * np.sign(s.first)
    yield "the optimizer takes the sign of the gradient", lambda s: rate * np.sign(s.gradient)
    for epsilon in dict.fromkeys((adam.epsilon, 1e-8, 1e-7)):
        words = "" if epsilon == adam.epsilon else f", with ε = {epsilon:g}"
        name = f"the optimizer is RMSprop: no first moment{words}"
        yield name, lambda s, e=epsilon: rate * s.gradient / (np.sqrt(s.second) + e)
        name = f"the optimizer is RMSprop as Keras has it, with ε inside the root{words}{see('rmsprop-epsilon-place')}"
        yield name, lambda s, e=epsilon: rate * s.gradient / np.sqrt(s.second + e)
        for form in (_keras, _torch):
            said = f"{words}, in {_form(form)}'s form" if form is _torch else words
            yield (
                f"the first moment looks ahead (Nesterov){said}",
                lambda s, e=epsilon, form=form: form(s, s.adam.first_moment(s.first, s.gradient), s.second, e),
            )
            yield (
                f"the update takes the gradient in place of the first moment{said}",
                lambda s, e=epsilon, form=form: form(s, s.gradient, s.second, e),
            )
        yield (
            f"the optimizer is NAdam as torch has it, not Adam{words}{see('nadam-momentum-schedule')}",
            partial(_nadam, epsilon=epsilon, decay=4e-3),
        )
        yield (
            f"the optimizer is NAdam as Keras has it, not Adam{words}{see('nadam-momentum-schedule')}",
            partial(_nadam, epsilon=epsilon, decay=1.0),
        )
        yield f"the optimizer is RAdam as torch has it, not Adam{words}", partial(_radam, epsilon=epsilon)
        for form in (_keras, _torch):
            said = f"{words}, in {_form(form)}'s form" if form is _torch else words
            yield (
                f"the optimizer is Nadam without a schedule of its momentum, not Adam{said}",
                lambda s, e=epsilon, form=form: form(s, _looked_ahead(s), s.second, e),
            )


def _nadam(s: OptimizerState, epsilon: float, decay: float) -> Array:
    """NAdam (torch/optim/nadam.py, keras/src/optimizers/nadam.py): the momentum grows as 1 − 0.96^(t·decay) / 2."""
    beta_1 = s.adam.beta_1
    momenta = [beta_1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, s.step + 2)]
    product = float(np.prod(momenta[:-1]))
    looked = (1 - momenta[-2]) / (1 - product) * s.gradient + momenta[-1] / (1 - product * momenta[-1]) * s.first
    _, correction_2 = _corrections(s)
    return s.adam.learning_rate * looked / (np.sqrt(s.second) / correction_2 + epsilon)


def _looked_ahead(s: OptimizerState) -> Array:
    """β₁·m / (1 − β₁ᵗ⁺¹) + (1 − β₁)·g / (1 − β₁ᵗ) (Dozat, "Incorporating Nesterov Momentum into Adam", 2016).

    Times 1 − β₁ᵗ, by which the forms of Adam divide a first moment.
    """
    beta_1, (correction_1, _) = s.adam.beta_1, _corrections(s)
    return beta_1 * s.first * correction_1 / (1 - beta_1 ** (s.step + 1)) + (1 - beta_1) * s.gradient


def _radam(s: OptimizerState, epsilon: float) -> Array:
    """RAdam (Liu et al. 2020; torch/optim/radam.py): rectified once the variance of its rate is known."""
    correction_1, correction_2 = _corrections(s)
    power = s.adam.beta_2**s.step
    most = 2 / (1 - s.adam.beta_2) - 1
    length = most - 2 * s.step * power / (1 - power)
    mean = s.adam.learning_rate * s.first / correction_1
    if length <= 5:
        return mean
    rectified = np.sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
    return mean * rectified * correction_2 / (np.sqrt(s.second) + epsilon)


_USUAL_EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def _inside(s: OptimizerState, first: Array, second: Array, epsilon: float) -> Array:
    return s.adam.step_size(s.step) * first / np.sqrt(second + epsilon)


def _with(form: Callable[..., Array], s: OptimizerState, epsilon: float) -> Array:
    return form(s, s.first, s.second, epsilon)


_LARGE_DECAY = 0.2
"""Nobody chooses a larger one, but where the learning rate does not multiply it."""


def _fitted(first: Evidence) -> Iterator[Named]:
    """Those with a free number, which is fitted to the first step that is off."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    if not np.isfinite(first.recorded).all() or not np.isfinite(first.expected).all():
        return
    yield from _of_forms(first)
    yield from _of_other_kinds(first)
    name = "each parameter's update is scaled to its own norm times the learning rate, as LAMB does"
    for epsilon in dict.fromkeys((state.adam.epsilon, 1e-6)):
        yield f"{name}, ε = {epsilon:g}", partial(_to_own_norm, form=_torch, epsilon=epsilon)
    yield f"{name}, in Keras's form", partial(_to_own_norm, form=_keras, epsilon=state.adam.epsilon)
    yield from _projected(state)
    factor = ratio(first.recorded, rate * state.gradient)
    if np.isfinite(factor) and factor > 0:
        number = float(f"{factor * rate:.3g}")
        name = f"the optimizer is plain gradient descent, not Adam, with a learning rate of {number:.3g}"
        yield name, lambda s: number * s.gradient
    clip = float(f"{np.abs(first.recorded).max():.4g}")
    if clip:
        yield f"updates are clipped to ±{clip:.4g}", lambda s: np.clip(s.adams_update(), -clip, clip)
    else:
        yield "the update is not applied: the moments go on, the parameter stays", lambda s: 0 * s.adams_update()


def _of_forms(first: Evidence) -> Iterator[Named]:
    """Adam in its forms, with another rate, a decay, or both."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    forms: list[tuple[str, Callable[[OptimizerState], Array]]] = [("", OptimizerState.adams_update)]
    for epsilon in dict.fromkeys((state.adam.epsilon, *_USUAL_EPSILONS)):
        if epsilon != state.adam.epsilon:
            forms.append((f", in Keras's form with ε = {epsilon:g}", partial(_with, _keras, epsilon=epsilon)))
        forms.append((f", in torch's form with ε = {epsilon:g}", partial(_with, _torch, epsilon=epsilon)))
        forms.append((f", with ε = {epsilon:g} inside the root", partial(_with, _inside, epsilon=epsilon)))
    for words, update in forms:
        expected = update(state)
        factor = ratio(first.recorded, expected)
        yield from _rates(factor, rate, words, update)
        decay = ratio(first.recorded - expected, rate * state.before)
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            share = f", {number * rate:.3g} of the weights in a step" if number > _LARGE_DECAY else ""
            name = f"decoupled weight decay of {number:.3g} (AdamW){share}{words}{see('adamw-decay')}"
            yield name, lambda s, number=number, update=update: update(s) + rate * number * s.before
        decay = ratio(first.recorded - expected, rate * (state.before - expected))
        for number in dict.fromkeys((float(f"{decay:.3g}"), decay)) if np.isfinite(decay) else ():
            name = (
                f"decoupled weight decay of {number:.3g} (AdamW), applied after the update{words}{see('adamw-decay')}"
            )
            yield name, lambda s, d=rate * number, update=update: update(s) + d * (s.before - update(s))
        # Both at once: what a rate and a decay of its own leave.
        number, decayed = _rate_and_decay(first, expected)
        if abs(number * decayed) > 4 * state.rounding.unit:  # of less, rounding alone moves a parameter
            name = f"the learning rate is {number:.3g}, with decoupled weight decay of {decayed:.3g} (AdamW){words}"
            yield (
                name + see("adamw-decay"),
                lambda s, update=update, f=number / rate, d=number * decayed: f * update(s) + d * s.before,
            )


def _rate_and_decay(first: Evidence, update: Array) -> tuple[float, float]:
    """The rate of an update and the decoupled weight decay that together come closest, in few digits."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    parts = np.stack([update.ravel(), state.before.ravel()], axis=1)
    if not np.isfinite(parts).all():
        return 0.0, 0.0
    (found, shrink), *_ = np.linalg.lstsq(parts, first.recorded.ravel(), rcond=None)
    return float(f"{found * rate:.3g}"), float(f"{shrink / (found * rate):.3g}") if found else 0.0


def _of_other_kinds(first: Evidence) -> Iterator[Named]:
    """Optimizers with Adam's moments, with a rate and a decay of their own."""
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    for epsilon in dict.fromkeys((state.adam.epsilon, 1e-8)):
        for words, of in (
            ("NAdam as torch has it", partial(_nadam, epsilon=epsilon, decay=4e-3)),
            ("NAdam as Keras has it", partial(_nadam, epsilon=epsilon, decay=1.0)),
            ("RAdam as torch has it", partial(_radam, epsilon=epsilon)),
            ("RMSprop: no first moment", lambda s, e=epsilon: rate * s.gradient / (np.sqrt(s.second) + e)),
        ):
            number = float(f"{ratio(first.recorded, of(state)) * rate:.3g}")
            yield (
                f"the optimizer is {words}, not Adam, with a learning rate of {number:.3g} and ε = {epsilon:g}",
                lambda s, of=of, f=number / rate: f * of(s),
            )
            number, decay = _rate_and_decay(first, of(state))
            if decay:
                said = (
                    f"with a learning rate of {number:.3g}, decoupled weight decay of {decay:.3g} and ε = {epsilon:g}"
                )
                yield (
                    f"the optimizer is {words}, not Adam, {said}",
                    lambda s, of=of, f=number / rate, d=number * decay: f * of(s) + d * s.before,
                )


def _to_own_norm(s: OptimizerState, form: Callable[..., Array], epsilon: float) -> Array:
    """keras/src/optimizers/lamb.py; of a parameter that is zero, Adam's update stays."""
    update = form(s, s.first, s.second, epsilon)
    norms = float(np.linalg.norm(s.before)), float(np.linalg.norm(update))
    return update * (s.adam.learning_rate * norms[0] / norms[1] if all(norms) else 1.0)


def _projected(state: OptimizerState) -> Iterator[Named]:
    """What may be done to the parameters after the update: constraints on the weights."""

    def limited(weights: Array, limit: float, axis: int, *, keras: bool = False) -> Array:
        if weights.ndim != 2:
            return weights
        norms = np.linalg.norm(weights, axis=axis, keepdims=True)
        if keras:  # keras/src/constraints/constraints.py
            return weights * (np.minimum(norms, limit) / (norms + KERAS_EPSILON))
        return weights * np.minimum(1, limit / np.maximum(norms, 1e-300))

    constraints: dict[str, Callable[[Array], Array]] = {}
    if state.after.ndim == 2:
        for axis, words in ((0, "of the weights into each unit"), (1, "of the weights out of each input")):
            limit = float(f"{np.linalg.norm(state.after, axis=axis).max():.4g}")
            name = f"after each update, the norm {words} is limited to {limit:.4g}"
            constraints[name] = partial(limited, limit=limit, axis=axis)
            if state.double:  # float32 does not tell Keras's form
                constraints[f"{name}, as Keras's MaxNorm does"] = partial(limited, limit=limit, axis=axis, keras=True)
    largest = float(f"{np.abs(state.after).max():.4g}")
    name = f"after each update, the weights are clipped to ±{largest:.4g}"
    constraints[name] = lambda weights: np.clip(weights, -largest, largest)
    constraints["after each update, negative weights are set to zero"] = lambda weights: np.maximum(weights, 0)
    for name, constraint in constraints.items():
        yield name, partial(_constrained, constraint=constraint, sums="norm" in name)
    for dtype in ("bfloat16", "float16", *(("float32",) if state.double else ())):
        if (state.after == rounded(state.after, dtype)).all() and np.count_nonzero(state.after) >= ENOUGH_NUMBERS:
            name = f"after each update, the parameters are rounded to {dtype}"
            yield name, partial(_rounded_after, dtype=dtype)


def _constrained(s: OptimizerState, constraint: Callable[[Array], Array], *, sums: bool) -> Array:
    """What is subtracted in all; a constraint rounds the weights themselves some more times, and its sums, if any."""
    predicted, found = s.before - constraint(s.before - s.adams_update()), s.before - s.after
    roundings = 8 + max(s.after.shape) * sums
    rounds_to = np.abs(predicted - found) <= roundings * s.rounding.unit * np.abs(s.after)
    return np.where(rounds_to, found, predicted)


def _rounded_after(s: OptimizerState, dtype: str) -> Array:
    """What is subtracted in all; a number that lies between two of the dtype may be rounded to either."""
    exact = s.before - s.adams_update()
    nearest = rounded(exact, dtype)
    reach = np.abs(nearest) * {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}[dtype] + s.rounding.tiny
    fits = (s.after == rounded(s.after, dtype)) & (np.abs(s.after - exact) <= reach * (1 + 2**-6) + 2.0**-24)
    return s.before - np.where(fits, s.after, nearest)


def _averaged(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """What is pulled towards the initial weights, or is their moving average every so many steps."""
    before = {(one.tensor, one.step): one.given.before for one in evidence}
    if (first.tensor, 1) not in before or first.step == 1:
        return
    state: OptimizerState = first.given
    rate = state.adam.learning_rate
    away = state.before - before[first.tensor, 1]
    pull = ratio(first.recorded - first.expected, rate * away) if away.any() else 0.0
    for number in dict.fromkeys((float(f"{pull:.2g}"), float(f"{pull:.3g}"), pull)) if pull else ():
        yield Hypothesis(
            f"the parameters are pulled back to their initial values, by {number:.3g} of the way times the rate: L2-SP",
            lambda one, number=number: one.expected + rate * number * (one.given.before - before[one.tensor, 1]),
            fitted=1,
        )
    count = first.step
    moved = {(one.tensor, one.step): one.given.before - one.given.adams_update() for one in evidence}
    for share in (0.9, 0.95, 0.99, 0.999):

        def predict(one: Evidence, share: float = share) -> Array:
            s: OptimizerState = one.given
            if s.step % count:
                return s.adams_update()
            average = before[one.tensor, 1]
            for step in range(1, s.step + 1):
                average = share * average + (1 - share) * moved[one.tensor, step]
            return s.before - average

        name = f"every {count} steps the parameters become their moving average, which keeps {share:g} a step"
        # Each step of the average rounds once more, which later steps shrink.
        yield Hypothesis(name, predict, terms=lambda one: 2 * twice_rounded(one))


def _lookahead(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """Every so many steps, the parameters go back part of the way to where they were so many steps ago."""
    before = {(one.tensor, one.step): one.given.before for one in evidence}
    count = first.step
    if count < 2 or (first.tensor, 1) not in before:
        return
    start = before[first.tensor, 1]
    state: OptimizerState = first.given
    share = float(f"{ratio(state.after - start, state.before - state.adams_update() - start):.3g}")

    def predict(one: Evidence) -> Array:
        s: OptimizerState = one.given
        moved = s.before - s.adams_update()
        if s.step % count:
            return s.adams_update()
        slow = before[one.tensor, s.step - count + 1]
        return s.before - (slow + share * (moved - slow))

    if 0 < share < 1:
        name = f"every {count} steps the parameters go back to {share:.3g} of their way since: Lookahead"
        yield Hypothesis(name, predict, fitted=1)


def _rates(factor: float, rate: float, words: str, update: Callable[[OptimizerState], Array]) -> Iterator[Named]:
    for digits in (3, 6, 17):
        number = float(f"{factor * rate:.{digits}g}") if np.isfinite(factor) else rate
        if f"{number:.6g}" != f"{rate:.6g}":
            name = f"the learning rate is {number:.6g} instead of {rate:.6g}{words}"
            yield name, lambda s, f=number / rate: f * update(s)


def _schedules(evidence: Sequence[Evidence], first: Evidence) -> Iterator[Hypothesis]:
    """Another learning rate in every step, the same for all parameters."""
    state: OptimizerState = first.given
    for words, update in (
        ("", OptimizerState.adams_update),
        (", in torch's form with ε = 1e-08", lambda s: _torch(s, s.first, s.second, 1e-8)),
        (", in torch's form", lambda s: _torch(s, s.first, s.second, s.adam.epsilon)),
    ):
        _, decay = _rate_and_decay(first, update(state))
        # Of the first rates of a warm-up, rounding leaves few digits of a decay.
        for number in dict.fromkeys((0.0, *(float(f"{decay:.{digits}g}") for digits in (1, 2, 3)))):
            yield from _scheduled(evidence, first, words, partial(_decayed, update=update, decay=number), number)


def _decayed(s: OptimizerState, update: Callable[[OptimizerState], Array], decay: float) -> Array:
    return update(s) + s.adam.learning_rate * decay * s.before if decay else update(s)


def _scheduled(
    evidence: Sequence[Evidence],
    first: Evidence,
    words: str,
    update: Callable[[OptimizerState], Array],
    decay: float,
) -> Iterator[Hypothesis]:
    rate = first.given.adam.learning_rate
    factors = {one.step: ratio(one.recorded, update(one.given)) for one in evidence if one.tensor == first.tensor}
    rates = by_step({step: factor * rate for step, factor in factors.items()})
    # One rate from some step on is no schedule; in windows, only the steps that are off are seen.
    numbers = np.array([1.0, *factors.values()])
    different = 1 + int((np.diff(np.sort(numbers)) > 1e-6 * np.abs(numbers).max()).sum())
    if np.isfinite(numbers).all() and different > 2:
        law = _law(list(factors.values()))
        name = f"the learning rate changes from step to step{law}: {rates} instead of {rate:.6g}"
        decays = f", with decoupled weight decay of {decay:.3g} (AdamW)" if decay else ""
        yield Hypothesis(
            name + decays + words,
            lambda one: factors[one.step] * update(one.given),
            fitted=len(factors) + bool(decay),
            terms=twice_rounded if decay else None,
        )


def _law(factors: Sequence[float]) -> str:
    """How a schedule's rates follow each other."""
    numbers = np.array(factors)
    if len(numbers) < 4 or not (numbers > 0).all():
        return ""
    steps = np.diff(numbers)
    if np.ptp(steps) < 1e-3 * np.abs(steps).max() and abs(steps.mean()) > 1e-6:
        return ", in a straight line"
    ratios = numbers[1:] / numbers[:-1]
    if np.ptp(ratios) < 1e-4 and abs(ratios.mean() - 1) > 1e-6:
        return f", by a factor of {ratios.mean():.4g} each"
    inverse = np.diff(1 / numbers)
    if np.ptp(inverse) < 1e-3 * np.abs(inverse).max() and abs(inverse.mean()) > 1e-6:
        return ", as the inverse of the step"
    return ""
