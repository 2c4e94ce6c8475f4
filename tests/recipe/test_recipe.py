import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.api import default_directory
from compare.run.implementations import Implementation
from compare.run.jobs import Job
from compare.study.plan import plan, variant_recipe
from recipe import SWITCHES, Recipe, RecipeError
from recipe.datasets import load
from recipe.errors import DataError
from recipe.initial_weights import weight_shapes
from recipe.recipe import Preset
from tests.conftest import ROOT, run_python

DEFAULTS = {
    "dataset": "mnist",
    "network": "dense",
    "filters": (32, 64),
    "hidden_sizes": (128, 256, 512),
    "dropout": 0.0,
    "activation": "relu",
    "dtype": "float32",
    "batch_size": 32,
    "epochs": 10,
    "learning_rate": 1e-3,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-7,
    "seed": 0,
    "perturbation": 0,
    "initial_weights": "shared",
    "batch_order": "shared",
    "dropout_masks": "shared",
    "adam": "shared",
    "loss": "shared",
    "matmul_precision": "shared",
    "images": {
        "image_shape": (28, 28),
        "num_classes": 10,
        "num_training_images": 60_000,
        "num_test_images": 10_000,
        "sha256": None,
    },
}


def test_defaults_are_the_tutorials_network() -> None:
    assert dataclasses.asdict(Recipe()) == DEFAULTS


INTEGERS = {"batch_size": (1, 60_000), "epochs": (1, 10**6), "seed": (0, 2**32 - 1), "perturbation": (0, 2**32 - 1)}
SIZES = ("filters", "hidden_sizes")
NOT_SIZES = [128, "128", None, [0], [10**6 + 1], [128, -1], [1.0], [True], ["1"], [[1]]]
NOT_INTEGERS = ["1", 1.0, None, True, [1], math.nan]
NOT_NUMBERS = ["0.1", None, True, [0.1], math.nan, math.inf, -math.inf]

BAD = [
    *((name, bad) for name, (low, high) in INTEGERS.items() for bad in (low - 1, high + 1, *NOT_INTEGERS)),
    *((name, bad) for name in SIZES for bad in NOT_SIZES),
    *(("dropout", bad) for bad in (1, -0.1, *NOT_NUMBERS)),
    *(("network", bad) for bad in ("CNN", None, 1, "")),
    *(("dataset", bad) for bad in (None, 1, "")),
    *(("learning_rate", bad) for bad in (0, -1e-3, 1e-40, 1e39, *NOT_NUMBERS)),
    *(("epsilon", bad) for bad in (0, -1e-7, 1e-40, *(bad for bad in NOT_NUMBERS if bad is not None))),
    *((name, bad) for name in ("beta_1", "beta_2") for bad in (1, 1.5, -0.1, 1 - 1e-9, 1e-40, *NOT_NUMBERS)),
    *(("activation", bad) for bad in ("tanh", None, 1, "")),
    *(("dtype", bad) for bad in ("float16", "Float32", None, 32)),
    *((name, bad) for name in SWITCHES for bad in ("aligned", "keras", 1, True, "", None)),
]


@pytest.mark.parametrize(("name", "bad"), BAD, ids=str)
def test_bad_value_is_refused_by_name_and_value(name: str, bad: object) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**{name: bad})
    text = str(caught.value)
    assert f"recipe.{name}" in text
    assert repr(bad[-1] if name in SIZES and isinstance(bad, list) else bad) in text
    assert "\n" not in text


@pytest.mark.parametrize("bad", ["shared", None, 1])
def test_unknown_preset_is_refused_by_name_and_value(bad: Any) -> None:
    with pytest.raises(RecipeError, match=f"recipe.preset must be one of aligned, native, not {bad!r}"):
        Recipe.from_preset(bad)


GOOD = [
    *((name, good) for name, limits in INTEGERS.items() for good in limits),
    *(("hidden_sizes", good) for good in ((), (1,), (10**6,), (7, 7))),
    *(("learning_rate", good) for good in (1e-37, 1, 1e38)),
    *(("epsilon", good) for good in (1e-37, 1, 1e-8)),
    *((name, good) for name in ("beta_1", "beta_2") for good in (0, 0.0, 0.9999999)),
    ("dtype", "float64"),
]


@pytest.mark.parametrize(("name", "good"), GOOD, ids=str)
def test_value_at_its_limit_is_kept(name: str, good: object) -> None:
    assert getattr(Recipe(**{name: good}), name) == good


def test_hidden_sizes_become_a_tuple_and_name_the_layers() -> None:
    recipe = Recipe(hidden_sizes=[3, 4])
    assert recipe.hidden_sizes == (3, 4)
    assert recipe.layer_names == ("hidden_1", "hidden_2", "output")


def test_fields_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3


@pytest.mark.parametrize(("preset", "habit"), [("aligned", "shared"), ("native", "framework")])
def test_preset_fills_every_switch(preset: Preset, habit: str) -> None:
    recipe = Recipe.from_preset(preset)
    assert [getattr(recipe, name) for name in SWITCHES] == [habit] * len(SWITCHES)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(("preset", "other"), [("aligned", "framework"), ("native", "shared")])
def test_explicit_switch_beats_the_preset_and_flips_alone(preset: Preset, other: str, switch: str) -> None:
    flipped, plain = Recipe.from_preset(preset, **{switch: other}), Recipe.from_preset(preset)
    assert getattr(flipped, switch) == other
    changed = {name for name in DEFAULTS if getattr(flipped, name) != getattr(plain, name)}
    assert changed - {"epsilon"} == {switch}


@pytest.mark.parametrize(
    ("fields", "epsilon"),
    [
        ({}, 1e-7),
        ({"preset": "native"}, None),
        ({"adam": "framework"}, None),
        ({"preset": "native", "adam": "shared"}, 1e-7),
        ({"epsilon": 1e-8}, 1e-8),
        ({"preset": "native", "epsilon": 1e-3}, 1e-3),
    ],
)
def test_epsilon_left_out_is_keras_own_where_adam_is_shared(fields: dict[str, Any], epsilon: float | None) -> None:
    assert Recipe.from_preset(**fields).epsilon == epsilon


def test_a_preset_is_used_up_when_the_recipe_is_made() -> None:
    native = Recipe.from_preset("native")
    assert native == Recipe(**dict.fromkeys(SWITCHES, "framework"))
    assert native == variant_recipe(Recipe(), "native", 0)
    native.check_continues(Recipe(**dict.fromkeys(SWITCHES, "framework")), "here")
    assert "preset" not in json.loads(native.to_json())


def test_a_study_and_a_comparison_give_one_training_one_name(tmp_path: Path) -> None:
    implementation = Implementation("mine", ("mine",))
    (of_study,) = plan([implementation], Recipe(), ["native"], 1)
    asked = Recipe.from_preset("native")
    assert Job(implementation, asked, tmp_path).directory.name == of_study.key
    sides = [implementation]
    by_hand = Recipe(**dict.fromkeys(SWITCHES, "framework"))
    assert default_directory(asked, sides, "run") == default_directory(by_hand, sides, "run")
    assert default_directory(asked, sides, "run").name.startswith("run-native-float32-seed0-")


def test_what_is_replaced_keeps_no_half_of_a_preset() -> None:
    native = Recipe.from_preset("native")
    with pytest.raises(TypeError, match="preset"):
        dataclasses.replace(native, preset="aligned")
    assert dataclasses.replace(native, **dict.fromkeys(SWITCHES, "shared")) == Recipe()
    assert dataclasses.replace(native, seed=3) == Recipe.from_preset("native", seed=3)


@pytest.mark.parametrize(
    ("recipe", "variant"),
    [
        (Recipe(), "aligned"),
        (Recipe.from_preset("native"), "native"),
        (Recipe(loss="framework"), "loss"),
        (Recipe(loss="framework", adam="framework"), "adam+loss"),
    ],
)
def test_a_variant_is_called_as_a_study_calls_it(recipe: Recipe, variant: str) -> None:
    assert recipe.variant == variant
    assert variant_recipe(Recipe(), variant, 0) == recipe


def test_making_a_recipe_touches_no_file(tmp_path: Path) -> None:
    code = (
        "import sys, recipe.recipe\n"
        "touched = []\n"
        "watched = ('open', 'os.')\n"
        "sys.addaudithook(lambda event, _: touched.append(event) if event.startswith(watched) else None)\n"
        "made = recipe.recipe.Recipe.from_preset('native', dataset='nowhere/own.npz', network='cnn')\n"
        "made = recipe.recipe.dataclasses.replace(made, seed=3)\n"
        "print(touched, made.dataset, 'recipe.datasets' in sys.modules)"
    )
    process = run_python("-c", code, cwd=tmp_path)
    assert (process.stdout, process.stderr) == ("[] nowhere/own.npz False\n", "")


@pytest.mark.parametrize(
    "use",
    [
        Recipe.to_json,
        weight_shapes,
        load,
        lambda recipe: recipe.images.num_classes,
        lambda recipe: recipe.images.image_shape,
        lambda recipe: recipe.feature_map_shapes,
    ],
)
def test_images_that_have_not_been_read_are_no_zeros(use: Callable[[Recipe], Any]) -> None:
    with pytest.raises(DataError, match=r"has not been read yet; recipe\.datasets\.with_images\(recipe\) reads it"):
        use(Recipe(dataset="own.npz"))


def test_a_recipe_whose_images_are_not_read_is_a_value_like_others() -> None:
    recipe = Recipe(dataset="own.npz", batch_size=10**6)
    assert recipe == dataclasses.replace(Recipe(dataset="own.npz"), batch_size=10**6)
    assert recipe != Recipe(batch_size=60_000)
    assert hash(recipe) == hash(copy.deepcopy(recipe))
    assert "own.npz" in repr(recipe)


OLD = {"preset": "native", **json.loads(Recipe.from_preset("native", epochs=3).to_json())}
"""What recipe.json held when the preset was a field of a recipe."""


def test_old_records_of_a_recipe_are_read() -> None:
    assert Recipe.from_json(json.dumps(OLD)) == Recipe.from_preset("native", epochs=3)
    flipped = {**OLD, "preset": "aligned", "adam": "shared", "epsilon": 1e-7}
    assert Recipe.from_fields(flipped) == Recipe.from_preset("native", epochs=3, adam="shared")
    assert Recipe.from_json('{"preset": "native"}') == Recipe.from_preset("native")


@pytest.mark.parametrize("name", ["results", "one_order"])
def test_recipes_of_studies_that_were_kept_are_read(name: str) -> None:
    found = json.loads((ROOT / "docs" / "study" / f"{name}.json").read_text())["recipe"]
    assert "preset" in found
    assert Recipe.from_fields(found).variant == "aligned"


def test_shared_float64_adam_rounds_betas_to_float32() -> None:
    assert Recipe(dtype="float64").adam_betas == (0.8999999761581421, 0.9990000128746033)
    assert all(float(np.float32(beta)) == beta for beta in Recipe(dtype="float64", beta_1=0.123).adam_betas)


@pytest.mark.parametrize("fields", [{}, {"dtype": "float64", "adam": "framework"}, {"preset": "native"}])
def test_other_adams_keep_their_betas(fields: dict[str, Any]) -> None:
    assert Recipe.from_preset(**fields).adam_betas == (0.9, 0.999)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe.from_preset("native"),
        Recipe(hidden_sizes=(), dtype="float64", seed=2**32 - 1, perturbation=7, epsilon=0.1, learning_rate=1 / 3),
        Recipe.from_preset("native", loss="shared", beta_1=0, batch_size=60_000),
        Recipe(network="cnn", filters=(1, 2), dropout=0.5, dropout_masks="framework", dataset="qmnist"),
    ],
)
def test_json_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert json.loads(recipe.to_json()).keys() == DEFAULTS.keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ('{"epochs": 3', "not valid JSON"),
        ('{"epochs": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "JSON object, not list"),
        ("null", "JSON object, not NoneType"),
        ('{"epoch": 3, "zeta": 1}', "unknown fields in the recipe: epoch, zeta; known: activation"),
        ('{"epochs": "3"}', "recipe.epochs"),
        ('{"learning_rate": NaN}', "recipe.learning_rate"),
    ],
)
def test_bad_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        Recipe.from_json(text)


def test_json_fields_left_out_have_their_defaults() -> None:
    assert Recipe.from_json('{"epochs": 3}') == Recipe(epochs=3)


@pytest.mark.parametrize("name", ["learning_rate", "epsilon", "beta_1", "beta_2"])
def test_integer_beyond_every_float_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=name):
        Recipe(**{name: 10**400})


@pytest.mark.parametrize("filters", [[], [3], [1, 2, 3]])
def test_a_cnn_has_two_convolutions(filters: list[int]) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.filters must be two whole numbers"):
        Recipe(network="cnn", filters=filters)


@pytest.mark.parametrize(("pixels", "shapes"), [(28, [26, 11, 5]), (10, [8, 2, 1]), (13, [11, 3, 1])])
def test_feature_maps_shrink_by_the_kernel_and_halve(pixels: int, shapes: list[int]) -> None:
    images = {"image_shape": [pixels, 28], "num_classes": 3, "num_training_images": 60, "num_test_images": 6}
    recipe = Recipe(dataset="/nowhere.npz", network="cnn", batch_size=32, images=images)
    assert recipe.feature_map_shapes == list(zip(shapes, [26, 11, 5], strict=True))


def test_images_too_small_for_two_convolutions_are_refused() -> None:
    images = {"image_shape": [28, 9], "num_classes": 3, "num_training_images": 60, "num_test_images": 6}
    with pytest.raises(RecipeError, match=r"cnn needs images of 10×10 or more pixels; /nowhere\.npz's have 28×9"):
        Recipe(dataset="/nowhere.npz", network="cnn", images=images)


@pytest.mark.parametrize(
    "images",
    [
        {},
        {"image_shape": [28, 28]},
        {"image_shape": [28], "num_classes": 3, "num_training_images": 60, "num_test_images": 6},
        {"image_shape": [28, 0], "num_classes": 3, "num_training_images": 60, "num_test_images": 6},
        {"image_shape": [28, 28], "num_classes": "3", "num_training_images": 60, "num_test_images": 6},
        {"image_shape": [28, 28], "num_classes": 3, "num_training_images": 60, "num_test_images": 6, "more": 1},
    ],
)
def test_bad_summaries_of_images_are_refused(images: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.images"):
        Recipe(dataset="/nowhere.npz", images=images)


def test_mnist_is_what_it_is() -> None:
    images = {"image_shape": [28, 28], "num_classes": 11, "num_training_images": 60_000, "num_test_images": 10_000}
    with pytest.raises(RecipeError, match=r"recipe\.images is not mnist's summary"):
        Recipe(images=images)
