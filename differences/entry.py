"""What the catalogue says about one difference: both behaviors, their sources, how to see it, and how to remove it."""

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

Area = Literal[
    "dense",
    "convolution",
    "pooling",
    "normalisation",
    "embedding",
    "recurrent",
    "attention",
    "activation",
    "dropout",
    "initialiser",
    "optimizer",
    "loss",
    "clipping",
    "schedule",
    "callbacks",
    "data",
    "metrics",
    "modes",
    "precision",
    "seeds",
    "saving",
]

Framework = Literal["keras", "torch"]

Value = bool | float | str | list[bool] | list[int] | list[float] | list[str]
"""What a snippet calls `out`: a number, a word, or a short list of either."""

VERSIONS = {"keras": "3.15.1", "torch": "2.15.0"}
"""The versions whose sources were read and whose numbers stand in the entries."""

OLDEST_READ = {"keras": "3.0.0", "torch": "2.0.0"}
"""The oldest versions whose sources were read, to say since when a difference exists."""


@dataclass(frozen=True)
class Place:
    """Where a framework says so."""

    file: str
    """From the directory of installed packages, such as `torch/optim/adam.py`."""
    definition: str
    """The function or class in it, with its class: `Adam.update_step`."""
    says: str
    """Code of that definition, in one line, that states the behavior."""


@dataclass(frozen=True)
class Mend:
    """A change to a snippet that removes the difference: at most two lines in the place of those that were there."""

    instead_of: str
    write: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference between Keras 3 and PyTorch.

    The snippets are Python. They run in float64 with `np`, `rng` (a seeded NumPy generator) and either `keras` or
    `torch`, `nn` and `F`, after the lines of `given`, and leave their result in `out`.
    """

    name: str
    """By which it can be found, such as `adam-epsilon-place`."""
    area: Area
    title: str
    keras: str
    torch: str
    keras_place: Place
    torch_place: Place
    seen: str
    """How to see it: the numbers that betray it."""
    since: str = ""
    """The first versions that differ so; empty if the oldest that were read do, `OLDEST_READ`."""
    matters: str
    """Whether it matters, in a few words, for the table."""
    cost: str = "not measured"
    """What it costs in accuracy or time, measured, with n; or "not measured"."""

    given: str = ""
    keras_code: str
    torch_code: str
    keras_gives: Value
    torch_gives: Value
    within: float = 1e-3
    """How far, relatively, the snippets' results may be from those stated: four digits, more where they are random."""

    keras_mend: Mend | None = None
    torch_mend: Mend | None = None
    after: float = 1e-12
    """How far apart, relatively, the results may still be with the mend."""
    inherent: str = ""
    """What no setting removes; empty if the mend removes all of it."""
    backend: Literal["tensorflow", "jax"] = "tensorflow"
    """Keras's backend that the snippet needs; the number of one backend only is said so in the text."""
    not_run: str = ""
    """Why the difference itself could not be run on a CPU; the snippets then show what can be, such as a setting."""

    @property
    def since_when(self) -> str:
        """Since which versions, in a sentence."""
        if self.since:
            return self.since
        packages = [place.file.partition("/")[0] for place in (self.keras_place, self.torch_place)]
        if packages == ["keras", "torch"]:
            return f"Keras {OLDEST_READ['keras']} and torch {OLDEST_READ['torch']}, the oldest read, have it already"
        return "read in the versions below only"

    def mend(self, framework: Framework) -> list[str]:
        """The lines that the mend writes into the snippet of a framework, at most two."""
        before = self.code(framework).splitlines()
        return [line.strip() for line in self.code(framework, mended=True).splitlines() if line not in before]

    def code(self, framework: Framework, *, mended: bool = False) -> str:
        """The snippet of a framework, as it comes or with the mend."""
        code = dedent(self.keras_code if framework == "keras" else self.torch_code).strip()
        mend = self.keras_mend if framework == "keras" else self.torch_mend
        if not mended or mend is None:
            return code
        if code.count(mend.instead_of) != 1:
            raise ValueError(f"{self.name}: {mend.instead_of!r} must occur once in its {framework} snippet")
        return code.replace(mend.instead_of, mend.write)
