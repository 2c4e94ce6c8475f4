"""The recipe: every hyperparameter of a run, stated once. It is a value: making one reads no file."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from recipe.errors import DataError, RecipeError
from recipe.images import NAMED, NOT_READ, UNREAD, Summary

DType = Literal["float32", "float64"]
Network = Literal["dense", "cnn"]
Preset = Literal["aligned", "native"]
Switch = Literal["shared", "framework"]

SWITCHES = ("initial_weights", "batch_order", "dropout_masks", "adam", "loss", "matmul_precision")
"""The fields of a recipe that say whether a habit is shared or each framework's own."""

KERAS_EPSILON = 1e-7
"""Adam's epsilon in Keras (keras/src/optimizers/adam.py); torch's own default is 1e-8."""

KERNEL_SIZE = 3
"""Rows and columns of a convolution's kernel; it moves by one pixel and leaves the border out."""

_MAX_BATCH_SIZE = 10**9
"""Where the number of training images is not known yet."""

POOL_SIZE = 2
"""Rows and columns of which the pooling after a convolution keeps the largest; the rest at a border is left out."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every hyperparameter of a run.

    Args:
        dataset: The images: mnist, fashion_mnist, kmnist or qmnist, or the path of an .npz file or of a
            folder of IDX files.
        network: "dense": hidden layers alone; "cnn": before them two 3×3 convolutions, each with ReLU
            and 2×2 max pooling.
        filters: Number of filters in each convolution of a cnn, from the input on.
        hidden_sizes: Number of units in each hidden layer, from the input on.
        dropout: Share of each hidden layer's activations that is dropped in training, from 0 to below 1.
        activation: Activation function of the hidden layers.
        dtype: Floating-point type of the images, the parameters and the arithmetic.
        batch_size: Images per optimizer step, over all devices together.
        epochs: Passes over the training images.
        learning_rate: Adam's step size.
        beta_1: Decay rate of Adam's first moment, per step.
        beta_2: Decay rate of Adam's second moment, per step.
        epsilon: Adam's epsilon. Left out, it is Keras's 1e-7 when Adam is shared, else each
            framework's own default.
        seed: Seed of the initial weights, the batch order and the dropout masks.
        perturbation: Moves every initial weight by one unit in the last place, up or down, as a
            seed of this number says; 0 moves none. The control runs of a comparison use it.
        initial_weights: "shared": the same float arrays on both sides; "framework": each one's own.
        batch_order: "shared": the same images in every batch; "framework": each one's own shuffle.
        dropout_masks: "shared": the same activations dropped on both sides; "framework": each one's own.
        adam: "shared": Keras's arithmetic on both sides; "framework": each one's own Adam.
        loss: "shared": cross-entropy of the logits; "framework": of what each one takes by default.
        matmul_precision: "shared": full precision on both sides; "framework": each one's default,
            which on GPUs is TF32 in TensorFlow and JAX, and in torch's convolutions.
        images: What the data set holds. Left out, it is known where the data set has a name; of a path it is not
            read yet, which `recipe.datasets.with_images` does.

    Raises:
        RecipeError: A field is of the wrong type, out of range or not among its choices.
    """

    dataset: str = "mnist"
    network: Network = "dense"
    filters: tuple[int, ...] = (32, 64)
    hidden_sizes: tuple[int, ...] = (128, 256, 512)
    dropout: float = 0.0
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
    initial_weights: Switch = "shared"
    batch_order: Switch = "shared"
    dropout_masks: Switch = "shared"
    adam: Switch = "shared"
    loss: Switch = "shared"
    matmul_precision: Switch = "shared"
    images: Summary = None  # type: ignore[assignment]  # which is filled in when the recipe is made

    @classmethod
    def from_preset(cls, preset: Preset = "aligned", **fields: Any) -> "Recipe":
        """A recipe whose switches are as the preset says, but for those that are given.

        The preset is used up here: two recipes of the same fields are the same, however they were made.

        Args:
            preset: What a switch left out is: "aligned" shares all of them, "native" none.
            fields: Those of the recipe; a switch that is None counts as left out.

        Raises:
            RecipeError: There is no such preset, or a field is not valid.
        """
        _check_choice("preset", preset, get_args(Preset))
        switches = dict.fromkeys(SWITCHES, "shared" if preset == "aligned" else "framework")
        given = {name: value for name, value in fields.items() if name not in SWITCHES or value is not None}
        fields = switches | given
        return cls(**fields)

    def __post_init__(self) -> None:
        """Checks every field, and fills in what follows from others: Adam's epsilon, the images of a named data set."""
        _check_choice("network", self.network, get_args(Network))
        _check_choice("dtype", self.dtype, get_args(DType))
        _check_choice("activation", self.activation, ("relu",))
        for name in SWITCHES:
            _check_choice(name, getattr(self, name), get_args(Switch))
        if self.epsilon is None and self.adam == "shared":
            object.__setattr__(self, "epsilon", KERAS_EPSILON)

        self._check_images()
        self._check_network()
        self._check_numbers()

    def _check_images(self) -> None:
        if not isinstance(self.dataset, str) or not self.dataset:
            raise RecipeError(f"recipe.dataset must be a name or a path, not {self.dataset!r}")
        known = NAMED.get(self.dataset, UNREAD)
        images: Any = self.images
        if images is None or images == UNREAD:
            images = known
        try:
            images = images if images == UNREAD else Summary.of(images)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"recipe.images is not a data set's summary: {error}") from error
        if known not in (images, UNREAD):
            raise RecipeError(f"recipe.images is not {self.dataset}'s summary: leave it out")
        object.__setattr__(self, "images", images)

    def _check_network(self) -> None:
        for name in ("filters", "hidden_sizes"):
            sizes = getattr(self, name)
            if not isinstance(sizes, list | tuple):
                raise RecipeError(f"recipe.{name} must be a list of whole numbers, not {sizes!r}")
            object.__setattr__(self, name, tuple(sizes))
            for size in sizes:
                _check_integer(f"{name}, each of them,", size, 1, 1_000_000)
        if len(self.filters) != 2:  # noqa: PLR2004 - the network has two convolutions
            raise RecipeError(f"recipe.filters must be two whole numbers, not {list(self.filters)}")
        if not is_finite_number(self.dropout) or not 0 <= self.dropout < 1:
            raise RecipeError(f"recipe.dropout must be a number from 0 to below 1, not {self.dropout!r}")
        if self.images != UNREAD and self.network == "cnn" and min(self.feature_map_shapes[-1]) < 1:
            size = "×".join(map(str, self.images.image_shape))
            raise RecipeError(f"recipe.network cnn needs images of 10×10 or more pixels; {self.dataset}'s have {size}")

    def _check_numbers(self) -> None:
        most = _MAX_BATCH_SIZE if self.images == UNREAD else self.images.num_training_images
        _check_integer("batch_size", self.batch_size, 1, most)
        _check_integer("epochs", self.epochs, 1, 1_000_000)
        _check_integer("seed", self.seed, 0, 2**32 - 1)
        _check_integer("perturbation", self.perturbation, 0, 2**32 - 1)

        for name in ("learning_rate", "epsilon"):
            value = getattr(self, name)
            if value is None and name == "epsilon":
                continue
            if not is_finite_number(value) or not value > 0:
                raise RecipeError(f"recipe.{name} must be a positive number, not {value!r}")
            _check_normal(name, value)
        for name in ("beta_1", "beta_2"):
            value = getattr(self, name)
            # Both frameworks compute powers of β in float32, where 1 would divide by zero.
            if not is_finite_number(value) or not 0 <= np.float32(value) < 1:
                raise RecipeError(f"recipe.{name} must be a number in [0, 1), also in float32; it is {value!r}")
            if value:
                _check_normal(name, value)

    @property
    def variant(self) -> str:
        """The switches that are not shared, joined by +; or "aligned" for none and "native" for all of them."""
        flipped = [switch for switch in SWITCHES if getattr(self, switch) == "framework"]
        return {0: "aligned", len(SWITCHES): "native"}.get(len(flipped), "+".join(flipped))

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
    def convolution_names(self) -> tuple[str, ...]:
        """The convolutions from the input on, as records and weight files name them; none in a dense network."""
        return ("convolution_1", "convolution_2") if self.network == "cnn" else ()

    @property
    def hidden_names(self) -> tuple[str, ...]:
        """The hidden dense layers from the input on; after each is the dropout."""
        return tuple(f"hidden_{i}" for i in range(1, len(self.hidden_sizes) + 1))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers with parameters from input to output, as records and weight files name them."""
        return (*self.convolution_names, *self.hidden_names, "output")

    @property
    def feature_map_shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of each convolution's output, then of what the last pooling leaves; of a cnn."""
        shapes = []
        height, width = self.images.image_shape
        for _ in self.filters:
            height, width = height - KERNEL_SIZE + 1, width - KERNEL_SIZE + 1
            shapes.append((height, width))
            height, width = height // POOL_SIZE, width // POOL_SIZE
        return [*shapes, (height, width)]

    @property
    def num_mask_columns(self) -> int:
        """How many numbers the shared dropout masks of one image have; 0 where none are shared."""
        return sum(self.hidden_sizes) if self.dropout and self.dropout_masks == "shared" else 0

    def check_continues(self, begun: "Recipe", place: Path | str) -> None:
        """Refuses to resume at `place` a training that was begun with another recipe.

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
                f"{place} is of another recipe: {'; '.join(differences)}; ask for the same, or begin again elsewhere"
            )

    def to_json(self) -> str:
        """The recipe as a JSON object, every field stated; `from_json` is the inverse.

        Raises:
            DataError: The data set has not been read: the text would not say what the recipe is of.
        """
        if self.images == UNREAD:
            raise DataError(NOT_READ)
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Reads what `to_json` wrote, now or when a recipe's preset was a field of it.

        Raises:
            RecipeError: The text is not a JSON object of known fields with valid values.
        """
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, brackets 5,000 deep
            raise RecipeError(f"the recipe is not valid JSON: {error}") from error
        if not isinstance(fields, dict):
            raise RecipeError(f"the recipe must be a JSON object, not {type(fields).__name__}")
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Recipe":
        """A recipe from what JSON has of it: its fields, a list for a tuple, and perhaps a preset.

        Where every switch is stated, as in what earlier versions wrote, the preset says nothing.

        Raises:
            RecipeError: A field is unknown or not valid.
        """
        known = {"preset", *(field.name for field in dataclasses.fields(cls))}
        if unknown := sorted(fields.keys() - known):
            raise RecipeError(f"unknown fields in the recipe: {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        return cls.from_preset(**fields)


def is_finite_number(value: object) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RecipeError(f"recipe.{name} must be one of {', '.join(choices)}, not {value!r}")


def _check_normal(name: str, value: float) -> None:
    """Refuses what is no normal number of float32, by way of which Keras casts it whatever the recipe's dtype.

    Below, one framework takes a denormal number where the other flushes it to zero; above is infinity.
    """
    info = np.finfo(np.float32)
    low, high = float(info.smallest_normal), float(info.max)
    if not low <= value <= high:
        raise RecipeError(f"recipe.{name} must be from {low:.3g} to {high:.3g}, as float32 holds it, not {value!r}")


def _check_integer(name: str, value: object, lowest: int, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise RecipeError(f"recipe.{name} must be a whole number from {lowest:,} to {highest:,}, not {value!r}")
