"""What every stage looks at: both sides, how they are paired, and which of them is the port."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from compare.explanation.findings import Finding, Place, Severity, Stage, joined
from compare.explanation.observed.observation import Array, Layer, Observation
from compare.explanation.observed.pairing import Pair, Pairing
from compare.explanation.observed.sides import Side
from compare.explanation.origins import origin

Places = tuple[Place | None, Place | None]


@dataclass
class Context:
    """Both sides of a comparison.

    The guide is the side that was left alone and leads; the steered side got its weights, batches and gradients.
    Usually the guide is the reference; where the reference is torch's and the port Keras's, it is the port.

    Args:
        guide: Observed in float64 with its own weights.
        steered: Observed in float64 with the guide's weights, batches and gradients.
        look: The steered side's program on its own.
        pairing: Which layers belong together.
        guide_is_reference: Whether the guide is the reference.
        findings: What was found so far.
        same: What was compared and is the same.
        not_seen: What could not be compared.
        unpaired: Why something could not be paired.
        by_hand: The layers, and weights of a model's own, that may be written otherwise on the other side.
        told: The layers whose own output was found to differ.
        judged: The values before layers that were compared: the mode, the guide's figures, the steered side's key.
        exchanged: Two indices of which the port uses each where the reference uses the other.
        compared_trainings: How many trainings of the scripts were compared, one after the other.
        folders: Of the guide's and the steered side's programs, to read the lines around a place.
    """

    guide: Side
    steered: Side
    look: Observation
    pairing: Pairing
    guide_is_reference: bool
    findings: list[Finding] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    not_seen: list[str] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    judged: set[tuple[str, tuple[float, ...], str | None]] = field(default_factory=set)
    folders: tuple[Path, Path] = (Path(), Path())
    exchanged: list[Array] = field(default_factory=list)
    compared_trainings: int = 1

    @cached_property
    def frameworks(self) -> tuple[str, str]:
        """The guide's and the steered side's."""
        return self.guide.observation.framework, self.steered.observation.framework

    @property
    def reference_words(self) -> str:
        """The reference's framework, in words."""
        return (self.guide if self.guide_is_reference else self.steered).observation.words

    def find(
        self,
        stage: Stage,
        title: str,
        *,
        guide: str,
        steered: str,
        places: tuple[Place | None, Place | None] = (None, None),
        effect: float,
        effect_text: str = "",
        cause: str | None = None,
        mend: str = "",
        severity: Severity = "fault",
    ) -> Finding:
        """Adds a finding, with the two sides' words where they belong.

        Args:
            stage: Where it acts.
            title: What differs.
            guide: What the guide does.
            steered: What the steered side does.
            places: The guide's and the steered side's; the port's is taken, else the reference's.
            effect: See `Finding`.
            effect_text: See `Finding`.
            cause: See `Finding`.
            mend: What to do in the steered side's program; left out where that is the reference.
            severity: See `Finding`.
        """
        reference, port = (guide, steered) if self.guide_is_reference else (steered, guide)
        first, second = places if self.guide_is_reference else places[::-1]
        mend = mend if self.guide_is_reference else ""
        found = Finding(stage, title, reference, port, second or first, effect, effect_text, cause, mend, severity)
        self.findings.append(found)
        return found

    def add(self, further: "Context", where: str) -> None:
        """Takes what was found in a further training, but for what was found before.

        Args:
            further: Both sides in that training.
            where: Which one, in words.
        """
        self.findings += [
            replace(found, title=f"{where}: {found.title}")
            for found in further.findings
            if not any(_is_again(found, known) for known in self.findings)
        ]
        for name in ("same", "not_seen", "unpaired"):
            held: list[str] = getattr(self, name)
            held += [f"{where}: {text}" for text in getattr(further, name) if text not in held]

    def set_at(self, places: tuple[Place | None, Place | None], values: tuple[float, float]) -> "Places":
        """Where the guide's and the steered side's numbers stand that are used at these places."""
        return origin(places[0], self.folders[0], values[0]), origin(places[1], self.folders[1], values[1])

    def missing(self, what: str, where: str) -> str:
        """A title for what the guide has and the steered side has not."""
        return f"no {what} {where}" if self.guide_is_reference else f"{what} {where}, which the reference does not have"

    def added(self, what: str, where: str) -> str:
        """A title for what the steered side has and the guide has not."""
        return f"{what} {where}, which the reference does not have" if self.guide_is_reference else f"no {what} {where}"

    def differs(self, what: str, guide: str, steered: str) -> str:
        """A title that names both values, the port's first."""
        port, reference = (steered, guide) if self.guide_is_reference else (guide, steered)
        return f"{what} {port}; the reference has {reference}"

    def name(self, pair: Pair) -> str:
        """A pair's name in the port's file; of one that is a number, layer 2."""
        layers = pair.ports if self.guide_is_reference else pair.guides
        return called(layers[0])

    @property
    def not_compared(self) -> set[str]:
        """Layers of either side that may be the same and are not compared: what depends on them is not, either."""
        return self.by_hand | {layer.name for layer in self.pairing.beside}

    def names(self, pairs: Iterable[Pair]) -> str:
        """The names of several pairs, each once."""
        return joined(dict.fromkeys(self.name(pair) for pair in pairs))

    @property
    def model(self) -> str:
        """The variable that holds the steered side's model, by what its optimizer was given."""
        where = self.steered.observation.place("optimizer", "place")
        found = re.search(r"(?<![\w.])(\w+)\.(named_)?parameters\(", where.code) if where is not None else None
        return found[1] if found else "model"

    def layer(self, pair: Pair) -> Layer:
        """The port's layer of a pair."""
        return pair.port if self.guide_is_reference else pair.guide

    def has(self, stage: Stage, severities: tuple[Severity, ...] = ("fault", "minor")) -> bool:
        """Whether something was found in a stage."""
        return any(found.stage == stage and found.severity in severities for found in self.findings)

    def says(self, pattern: str) -> bool:
        """Whether a finding's title matches."""
        return any(re.search(pattern, found.title, re.IGNORECASE) for found in self.findings)


def _is_again(found: Finding, known: Finding) -> bool:
    """Whether a finding of a further training says what is known: what is inherent, or the same of the same line."""
    if found.severity == "inherent":
        return found.title == known.title
    return found.place == known.place and (found.title == known.title or (found.cause or 0) == known.cause)


def describe(layer: Layer) -> str:
    """A layer as it would be written, with the settings that people set: Dense(512, activation=relu)."""
    settings = layer.settings
    sizes = ("units", "out_features", "filters", "out_channels", "input_dim", "num_embeddings", "hidden_size")
    shown = [str(settings[key]) for key in sizes if key in settings]
    for key in ("kernel_size", "strides", "stride", "padding", "dilation_rate", "dilation", "groups", "activation"):
        value = settings.get(key)
        if value not in (None, "linear", 1, [1], [1, 1], [1, 1, 1], 0, [0, 0], "valid"):
            shown.append(f"{key}={value}")
    numbers = ("epsilon", "eps", "momentum", "rate", "p", "negative_slope", "num_parameters")
    shown += [f"{key}={settings[key]:g}" for key in numbers if isinstance(settings.get(key), int | float)]
    if layer.kind == "PReLU" and not shown:  # Keras's has its size from its input
        shown += [str(math.prod(parameter.shape)) for parameter in layer.parameters.values()]
    return f"{layer.kind}({', '.join(shown)})"


def called(layer: Layer) -> str:
    """A layer's name; a number, as in a sequence, says nothing without the word layer before it."""
    return f"layer {layer.name}" if layer.name.replace(".", "").isdigit() else layer.name


def in_code(name: str, model: str = "model") -> str:
    """A layer as Python has it: model.net[1] for net.1, model[0] for 0."""
    return model + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split(".") if part)


Check = Callable[[Context], None]
