"""Terms that are added to the loss, times a number: of each image's logits, or penalties on weights and activations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compare.causes.loss.losses import (
    Each,
    Fed,
    Loss,
    Numbers,
    at_label,
    cross_entropy,
    logs,
    magnitude,
    probabilities,
    softplus,
)
from compare.causes.signatures import see
from compare.oracle.network import Array, ArraysByName
from compare.oracle.step import ExactStep


@dataclass(frozen=True)
class Term:
    """Something that is added to the loss, times a number that is fitted: as each image's, or as a penalty."""

    words: str
    each: Each | None = None
    added: Callable[[Fed], float] | None = None
    added_gradients: Callable[[Fed], ArraysByName] | None = None
    instead: bool = False
    """Whether as much of the cross-entropy is left out as is added."""

    def times(self, number: float) -> Loss:
        """The cross-entropy with so many times the term."""

        def each(z: Numbers, fed: Fed) -> Numbers:
            plain = cross_entropy(z, fed)
            if self.each is None:
                return plain
            return (
                (1 - number) * plain + number * self.each(z, fed)
                if self.instead
                else (plain + number * self.each(z, fed))
            )

        added, gradients = self.added, self.added_gradients
        return Loss(
            self.words.format(f"{number:.4g}"),
            each,
            added=(lambda fed: number * added(fed)) if added else (lambda fed: 0.0),
            added_gradients=(lambda fed: {name: number * array for name, array in gradients(fed).items()})
            if gradients
            else None,
            fitted=True,
        )


Norm = Literal["squares", "magnitudes"]
"""What of the numbers is added up: L2 or L1."""


def penalty(words: str, names: Callable[[str], bool], kind: Norm) -> Term:
    """A penalty on the squares or magnitudes of the parameters with these names."""

    def chosen(fed: Fed) -> ArraysByName:
        return {name: array for name, array in fed.step.weights.items() if names(name)}

    def value(fed: Fed) -> float:
        of = np.square if kind == "squares" else np.abs
        return sum(float(of(array).sum()) for array in chosen(fed).values())

    def gradients(fed: Fed) -> ArraysByName:
        return {name: 2 * array if kind == "squares" else np.sign(array) for name, array in chosen(fed).items()}

    return Term(words, added=value, added_gradients=gradients)


def _of_lengths(words: str, names: Callable[[str], bool], *, together: bool) -> Term:
    """A penalty on the Euclidean norms of parameters, not squared: of each, or of all `together`; 0 where all are."""

    def lengths(fed: Fed) -> dict[str, float]:
        each = {name: float(np.linalg.norm(array)) for name, array in fed.step.weights.items() if names(name)}
        return dict.fromkeys(each, float(np.linalg.norm(list(each.values())))) if together else each

    def value(fed: Fed) -> float:
        each = lengths(fed).values()
        return next(iter(each)) if together else sum(each)

    def gradients(fed: Fed) -> ArraysByName:
        return {name: fed.step.weights[name] / (length or 1.0) for name, length in lengths(fed).items()}

    return Term(words, added=value, added_gradients=gradients)


def _from_initial(words: str, names: Sequence[str], initial: ArraysByName) -> Term:
    """A penalty on the squared distances of parameters from their initial values: L2-SP."""

    def gradients(fed: Fed) -> ArraysByName:
        return {name: 2 * (fed.step.weights[name] - initial[name]) for name in names}

    def value(fed: Fed) -> float:
        return sum(float((array**2).sum()) for array in gradients(fed).values()) / 4

    return Term(words, added=value, added_gradients=gradients)


def _orthogonality(kernel: str) -> Term:
    """The penalty ‖WᵀW − I‖² on a kernel."""

    def parts(fed: Fed) -> tuple[Array, Array]:
        weights = fed.step.weights[kernel]
        return weights, weights.T @ weights - np.eye(weights.shape[1])

    def gradients(fed: Fed) -> ArraysByName:
        weights, off = parts(fed)
        return {kernel: 4 * weights @ off}

    return Term(
        f"{{}} times ‖WᵀW − I‖² of {kernel} is added: a penalty that makes it orthogonal",
        added=lambda fed: float((parts(fed)[1] ** 2).sum()),
        added_gradients=gradients,
    )


def _activity(words: str, layers: Sequence[str], kind: Norm) -> Term:
    """A penalty on the activations of hidden layers, averaged over the batch."""

    def value(fed: Fed) -> float:
        of = np.square if kind == "squares" else np.abs
        return sum(float(of(fed.step.activations[layer]).sum()) for layer in layers) / fed.size

    def gradients(fed: Fed) -> ArraysByName:
        step = fed.step

        def through(layer: str, delta: Array) -> Array:
            passed = step.through(layer, delta)
            if layer not in layers:
                return passed
            a = step.activations[layer]
            return passed + (2 * a if kind == "squares" else np.sign(a)) * (a > 0) / fed.size

        return step.gradients(np.zeros(fed.logits.shape), through)

    return Term(words, added=value, added_gradients=gradients)


def terms(step: ExactStep) -> Iterator[Term]:
    """The terms that may be added to the loss, of a network like this."""
    yield Term(
        f"labels are smoothed by {{}}{see('label-smoothing-sparse')}",
        lambda z, fed: -logs(z).mean(axis=1),
        instead=True,
    )
    yield Term("{} times the cross-entropy of a uniform distribution is added", lambda z, fed: -logs(z).mean(axis=1))
    yield Term("a constant is added: {}", added=lambda fed: 1.0, added_gradients=lambda fed: {})
    yield Term(
        "{} times the negative entropy of the predictions is added: a confidence penalty",
        lambda z, fed: (probabilities(z) * logs(z)).sum(axis=1),
    )
    yield Term(
        "{} of the loss is the entropy of the predictions: soft bootstrapping",
        lambda z, fed: -(probabilities(z) * logs(z)).sum(axis=1),
        instead=True,
    )
    yield Term("{} times the sum of the logits' magnitudes is added", lambda z, fed: magnitude(z).sum(axis=1))
    yield Term(
        "{} times the sum of the logits' squared distances from their mean is added",
        lambda z, fed: ((z - z.mean(axis=1, keepdims=True)) ** 2).sum(axis=1),
    )
    yield Term(
        "{} times the squared log of the softmax's denominator is added: a z-loss",
        lambda z, fed: (z - logs(z))[:, 0] ** 2,
    )
    yield Term("{} times the sum of the squared logits is added", lambda z, fed: (z**2).sum(axis=1))
    yield Term(
        "{} times (1 − the probability of the label) is added, as PolyLoss has it",
        lambda z, fed: 1 - at_label(probabilities(z), fed),
    )
    yield Term(
        "{} times the summed squared error of the probabilities is added",
        lambda z, fed: ((probabilities(z) - fed.one_hot) ** 2).sum(axis=1),
    )
    yield Term(
        "{} of the loss is the summed squared error of the probabilities",
        lambda z, fed: ((probabilities(z) - fed.one_hot) ** 2).sum(axis=1),
        instead=True,
    )
    yield Term(
        "{} times binary cross-entropy of the logits, added up over the classes, is added",
        lambda z, fed: (softplus(z) - fed.one_hot * z).sum(axis=1),
    )
    kernels = [name for name in step.weights if name.endswith(".kernel")]
    norms: dict[Norm, str] = {
        "squares": "an L2 penalty of {} times the squared",
        "magnitudes": "an L1 penalty of {} times the",
    }
    for kind, words in norms.items():
        yield penalty(f"{words} kernels is added", lambda name: name in kernels, kind)
        yield penalty(f"{words} kernels and biases is added", lambda name: True, kind)
        for kernel in kernels if len(kernels) > 1 else ():
            yield penalty(f"{words} {kernel} is added", lambda name, kernel=kernel: name == kernel, kind)
        if len(kernels) > 2:
            yield penalty(f"{words} hidden kernels is added", lambda name: name in kernels[:-1], kind)
    for which, of in (("kernels", kernels), ("kernels and biases", list(step.weights))):
        for together, words in ((False, f"norms of the {which}"), (True, f"norm of all {which} together")):
            cause = f"a penalty of {{}} times the {words} is added, not squared"
            yield _of_lengths(cause, lambda name, of=of: name in of, together=together)
    for kernel in (name for name in kernels if step.weights[name].ndim == 2):
        yield _orthogonality(kernel)
    hidden = step.layers[:-1]
    of_activations: dict[Norm, str] = {"squares": "squared activations", "magnitudes": "activations"}
    for kind, words in of_activations.items():
        if len(hidden) > 1:
            yield _activity(f"{{}} times the {words} of the hidden layers is added", hidden, kind)
        for layer in hidden:
            yield _activity(f"{{}} times the {words} of {layer} is added", [layer], kind)


def terms_of_distance(steps: Sequence[Fed]) -> Iterator[Term]:
    """Penalties on what has been learned since the first step, where that is among these."""
    initial = steps[0].step.weights
    if len(steps) == 1:
        return
    kernels = [name for name in initial if name.endswith(".kernel")]
    for words, names in (("kernels", kernels), ("kernels and biases", list(initial))):
        yield _from_initial(
            f"L2-SP: a penalty of {{}} times the squared distance of the {words} from their initial values is added",
            names,
            initial,
        )
