"""The recipe: every hyperparameter of a run, stated once."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from recipe.mnist import NUM_TRAINING_IMAGES

DType = Literal["float32", "float64"]
Preset = Literal["aligned", "native"]
Switch = Literal["shared", "framework"]

SWITCHES = ("initial_weights", "batch_order", "adam", "loss", "matmul_precision")
"""The fields of a recipe that say whether a habit is shared or each framework's own."""

KERAS_EPSILON = 1e-7
"""Adam's epsilon in Keras (keras/src/optimizers/adam.py); torch's own default is 1e-8."""


class RecipeError(ValueError):
    """A recipe that cannot be trained; the message names the field, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every hyperparameter of a run.

    Args:
        hidden_sizes: Number of units in each hidden layer, from the input on.
        activation: Activation function of the hidden layers.
        dtype: Floating-point type of the images, the parameters and the arithmetic.
        batch_size: Images per optimizer step, over all devices together.
        epochs: Passes over the 60,000 training images.
        learning_rate: Adam's step size.
        beta_1: Decay rate of Adam's first moment, per step.
        beta_2: Decay rate of Adam's second moment, per step.
        epsilon: Adam's epsilon. Left out, it is Keras's 1e-7 when Adam is shared, else each
            framework's own default.
        seed: Seed of the initial weights and the batch order.
        perturbation: Moves every initial weight by one unit in the last place, up or down, as a
            seed of this number says; 0 moves none. The control runs of a comparison use it.
        preset: What a switch left out is: "aligned" shares all of them, "native" none.
        initial_weights: "shared": the same float arrays on both sides; "framework": each one's own.
        batch_order: "shared": the same images in every batch; "framework": each one's own shuffle.
        adam: "shared": Keras's arithmetic on both sides; "framework": each one's own Adam.
        loss: "shared": cross-entropy of the logits; "framework": of what each one takes by default.
        matmul_precision: "shared": full precision on both sides; "framework": each one's default,
            which on GPUs is TF32 in TensorFlow and JAX.
    """

    hidden_sizes: tuple[int, ...] = (128, 256, 512)
    activation: Literal["relu"] = "relu"
    dtype: DType = "float32"
    batch_size: int = 32
    epochs: int = 10
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float | None = None
    seed: int = 0
    perturbation: int = 0
    preset: Preset = "aligned"
    initial_weights: Switch | None = None
    batch_order: Switch | None = None
    adam: Switch | None = None
    loss: Switch | None = None
    matmul_precision: Switch | None = None

    def __post_init__(self) -> None:
        """Checks every field and fills in what the preset decides.

        Raises:
            RecipeError: A field is of the wrong type, out of range or not among its choices.
        """
        self._check_choice("preset", get_args(Preset))
        self._check_choice("dtype", get_args(DType))
        self._check_choice("activation", ("relu",))
        for name in SWITCHES:
            if getattr(self, name) is None:
                object.__setattr__(self, name, "shared" if self.preset == "aligned" else "framework")
            self._check_choice(name, get_args(Switch))
        if self.epsilon is None and self.adam == "shared":
            object.__setattr__(self, "epsilon", KERAS_EPSILON)

        self._check_numbers()

    def _check_numbers(self) -> None:
        if not isinstance(self.hidden_sizes, list | tuple):
            raise RecipeError(f"recipe.hidden_sizes must be a list of whole numbers, not {self.hidden_sizes!r}")
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        for size in self.hidden_sizes:
            _check_integer("hidden_sizes", size, 1, 1_000_000)
        _check_integer("batch_size", self.batch_size, 1, NUM_TRAINING_IMAGES)
        _check_integer("epochs", self.epochs, 1, 1_000_000)
        _check_integer("seed", self.seed, 0, 2**32 - 1)
        _check_integer("perturbation", self.perturbation, 0, 2**32 - 1)

        for name in ("learning_rate", "epsilon"):
            value = getattr(self, name)
            if value is None and name == "epsilon":
                continue
            if not _is_number(value) or not value > 0:
                raise RecipeError(f"recipe.{name} must be a positive number, not {value!r}")
        for name in ("beta_1", "beta_2"):
            value = getattr(self, name)
            # Both frameworks compute powers of β in float32, where 1 would divide by zero.
            if not _is_number(value) or not 0 <= np.float32(value) < 1:
                raise RecipeError(f"recipe.{name} must be a number in [0, 1), also in float32; it is {value!r}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise RecipeError(f"recipe.{name} must be one of {', '.join(choices)}, not {value!r}")

    @property
    def adam_betas(self) -> tuple[float, float]:
        """β₁ and β₂ as both implementations use them.

        Keras's TensorFlow backend casts β to float64 by way of float32, its torch and JAX backends
        do not (`cast` in keras/src/backend/*/core.py). A shared float64 Adam therefore rounds both
        to float32 before anybody sees them, which leaves nothing for that detour to change.
        """
        if self.adam == "shared" and self.dtype == "float64":
            return float(np.float32(self.beta_1)), float(np.float32(self.beta_2))
        return self.beta_1, self.beta_2

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The dense layers from input to output, as records and weight files name them."""
        return (*(f"hidden_{i}" for i in range(1, len(self.hidden_sizes) + 1)), "output")

    def check_continues(self, begun: "Recipe", place: Path | str) -> None:
        """Refuses to go on at `place` with a training that was begun with another recipe.

        More epochs are no difference, for no step depends on their number.

        Raises:
            RecipeError: Any other field differs; all that do are named with both values.
        """
        was, now = dataclasses.asdict(begun), dataclasses.asdict(self)
        differences = [
            f"{name} was {was[name]} and is now {now[name]}"
            for name in now
            if name != "epochs" and was[name] != now[name]
        ]
        if differences:
            raise RecipeError(
                f"{place} is of another recipe: {'; '.join(differences)}; ask for the same, or begin anew"
            )

    def to_json(self) -> str:
        """The recipe as a JSON object, every field stated; `from_json` is the inverse."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Reads what `to_json` wrote.

        Raises:
            RecipeError: The text is not a JSON object of known fields with valid values.
        """
        try:
            fields: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"the recipe is not valid JSON: {error}") from error
        if not isinstance(fields, dict):
            raise RecipeError(f"the recipe must be a JSON object, not {type(fields).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(fields.keys() - known):
            raise RecipeError(f"unknown fields in the recipe: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls(**fields)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _check_integer(name: str, value: object, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise RecipeError(f"recipe.{name} must be a whole number from {lowest:,} to {highest:,}, not {value!r}")
