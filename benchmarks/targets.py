"""What is measured, and what it should come to."""

from typing import NamedTuple

SCRIPTS: dict[str, tuple[str, ...]] = {
    "tutorial Lightning": ("tutorial_lightning",),
    "tutorial Keras": ("tutorial_keras",),
    "Keras": ("our_keras",),
    "Lightning": ("our_lightning",),
    "Lightning, 1 step per execution": ("our_lightning", "--steps-per-execution", "1"),
    "bare torch loop": ("bare_torch",),
    "JAX scan": ("jax_scan",),
    "floor": ("floor",),
}
"""The scripts that train epochs, by the names that the results give them."""

TUTORIALS = ("tutorial Lightning", "tutorial Keras")
"""Of the scripts those that are also timed whole, against `compare run`."""

OURS = ("Keras", "Lightning")


class Ratio(NamedTuple):
    """A ratio of two scripts' seconds per epoch, and its target: at most, or at least, `limit`."""

    numerator: str
    denominator: str
    limit: float
    at_least: bool = False

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.numerator} / {self.denominator}"

    @property
    def target(self) -> str:
        """As the table has it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def met(self, value: float) -> bool:
        """Whether this value is within the target."""
        return value >= self.limit if self.at_least else value <= self.limit


EPOCH_RATIOS = (
    Ratio("Lightning", "bare torch loop", 1.10),
    Ratio("tutorial Lightning", "Lightning", 5, at_least=True),
    Ratio("Keras", "tutorial Keras", 0.40),
    Ratio("Lightning", "floor", 1.25),
    Ratio("Lightning", "JAX scan", 1.10),
)


class Limit(NamedTuple):
    """A quantity of whole commands, its unit and the most it should be."""

    name: str
    limit: float
    unit: str


COMPARE_RUN = Limit("whole compare run / both tutorials, one after the other", 0.25, "")
COMPARE_ALIGN = Limit("compare align", 30, "s")
COMPARE_HELP = Limit("compare --help, CPU time", 0.5, "s")
KERAS_HELP = Limit("keras_impl --help, CPU time", 1, "s")
LIGHTNING_HELP = Limit("lightning_impl --help, CPU time beyond `import lightning`", 0.5, "s")
