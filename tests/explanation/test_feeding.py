from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare.explanation.context import Context
from compare.explanation.feeding.data import Feeding, data, feeding
from compare.explanation.feeding.mixing import mixing
from compare.explanation.feeding.order import order
from compare.explanation.feeding.part import part
from compare.explanation.feeding.relation import Relation, relate
from compare.explanation.feeding.scaling import affine
from compare.explanation.feeding.targets import relate_targets
from compare.explanation.feeding.validation import validation
from compare.explanation.observed.joining import columns, samples_first, time_first, together, where_known
from compare.explanation.observed.observation import Array, Observation
from compare.explanation.observed.pairing import Pairing, pair
from compare.explanation.observed.sides import Side
from tests.explanation.made_up import observation

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, size=(16, 8, 8, 3)) / 255
FIRST = np.moveaxis(PIXELS, -1, 1)


def words(guide: Array, steered: Array) -> str:
    return relate([guide], [steered]).words


def test_the_same_samples_in_another_layout_are_the_same() -> None:
    assert words(PIXELS, FIRST.astype(np.float32)) == ""


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            (FIRST - 0.1307) / 0.3081,
            "standardised (normalised): mean 0.1307 subtracted, divided by the deviation 0.3081",
        ),
        (FIRST * 255, "not divided by 255"),
        (FIRST / 255, "divided by 255 once more"),
        (FIRST * 255 / 256, "divided by 256 instead of 255"),
        (FIRST * 2 - 1, "scaled to -1..1"),
        (1 - FIRST, "inverted"),
        (np.swapaxes(FIRST, 2, 3), "height and width exchanged"),
        (FIRST[:, ::-1], "channels reversed"),
        (PIXELS.reshape(16, 3, 8, 8), "reshaped where the axes should be permuted"),
        (np.where(np.arange(16)[:, None, None, None] % 2, FIRST, FIRST[..., ::-1]), "random augmentation"),
        (np.log1p(FIRST), "logarithm log(1 + x) is taken"),
    ],
)
def test_how_samples_are_made_is_named(made: Array, expected: str) -> None:
    assert expected in words(PIXELS, made)


def test_each_channel_may_have_its_own_mean() -> None:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = words(PIXELS, np.moveaxis((PIXELS - mean) / deviation, -1, 1))
    assert "standardised by channel: mean 0.485, 0.456, 0.406" in found


def test_a_scale_is_found_in_another_order_of_the_samples() -> None:
    order = GENERATOR.permutation(16)
    found = relate([PIXELS], [(FIRST * 2 - 1)[order]])
    assert "scaled to -1..1" in found.words
    assert found.order == tuple(order)


def test_other_samples_are_not_explained_away() -> None:
    assert words(PIXELS, GENERATOR.normal(size=FIRST.shape)) == "other samples"


def test_the_side_that_is_out_of_the_ordinary_is_named() -> None:
    found = relate([(PIXELS - 0.5) / 0.25], [FIRST])
    assert found.of_guide
    assert "mean 0.5000" in found.words


LABELS = GENERATOR.integers(0, 9, size=16)


@pytest.mark.parametrize(
    ("guide", "steered", "expected"),
    [
        (LABELS, LABELS, ""),
        (np.eye(10)[LABELS], LABELS, ""),
        (LABELS[:, None], np.eye(10)[LABELS], ""),
        (LABELS, LABELS + 1, "labels off by 1"),
        (LABELS % 2, 1 - LABELS % 2, "labels reversed"),
        (np.eye(10)[LABELS], np.eye(10)[LABELS] * 0.9 + 0.01, "smoothed by 0.1"),
        (np.eye(10)[LABELS] * 0.9 + 0.01, LABELS, "not smoothed: the other side's labels are, by 0.1"),
        (LABELS[:, None] % 2, LABELS[:, None] % 2 * 0.8 + 0.1, "smoothed by 0.2"),
        (LABELS % 2 * 0.8 + 0.1, LABELS % 2, "not smoothed: the other side's labels are, by 0.2"),
        (np.eye(10)[LABELS] * 0.9 + 0.01, np.eye(10)[LABELS] * 0.9 + 0.01, ""),
        (LABELS, np.roll(LABELS, 1), "other labels"),
        (PIXELS[:, 0, 0], PIXELS[:, 0, 0] * 100, "multiplied by 100"),
    ],
)
def test_how_labels_are_made_is_named(guide: Array, steered: Array, expected: str) -> None:
    found = relate_targets([guide], [steered], None).words
    assert found == "" if expected == "" else expected in found


def test_targets_of_another_number_of_samples_are_no_match(tmp_path: Path) -> None:
    def side(name: str, targets: list[Array]) -> Side:
        arrays = {f"y{i}": target for i, target in enumerate(targets)}
        fed = [{"inputs": ["x"], "targets": list(arrays)}]
        inputs = {"x": PIXELS[: len(targets[0])]}
        return Side(observation(tmp_path / name, "torch", [], [], arrays | inputs, fed=fed))

    guide, look = side("guide", [LABELS[:4, None], LABELS[4:8, None]]), side("look", [LABELS[:8, None]])
    assert feeding(guide, look, pair(guide, look)).batches == (4, 8)


def loader(batch: int, *, drop: bool) -> dict[str, Any]:
    return {"loaders": [{"batch_size": batch, "drop_last": drop, "num_samples": 100}]}


def own_loop(count: int) -> dict[str, Any]:
    return {"epochs": {"loops": [{"count": 5}, {"count": count}]}}


def context_of_data(directory: Path, guide: dict[str, Any], look: dict[str, Any], second: str = "torch") -> Context:
    """A Keras script and one of another framework, of which only the data are known."""
    (directory / "loop.py").write_text("for epoch in range(5):\n    rng.shuffle(order)\n")
    left = Side(observation(directory / "a", "keras", [], [], {}, data=guide))
    right = Side(observation(directory / "b", second, [], [], {}, data=look))
    context = Context(left, right, right.observation, Pairing((), (), ()), guide_is_reference=True)
    context.folders = (directory, directory)
    return context


@pytest.mark.parametrize(
    ("guide", "look", "batches", "titles"),
    [
        (loader(32, drop=False), loader(32, drop=True), (32, 32), ["the last batch"]),
        (loader(32, drop=False), loader(16, drop=True), (32, 16), ["batch size", "the last batch"]),
        (loader(50, drop=False), loader(32, drop=True), (50, 32), ["batch size", "the last batch"]),
        (loader(32, drop=False), loader(50, drop=True), (32, 50), ["batch size"]),  # 50 leaves no rest
        (loader(32, drop=True), loader(16, drop=True), (32, 16), ["batch size"]),
        (loader(32, drop=False), own_loop(3), (32, 32), ["the last batch"]),  # for i in range(100 // 32)
        (loader(32, drop=False), own_loop(4), (32, 32), []),
        (loader(32, drop=True), own_loop(4), (32, 32), ["the last batch"]),
    ],
)
def test_a_last_batch_that_is_left_out_is_told(
    tmp_path: Path, guide: dict[str, Any], look: dict[str, Any], batches: tuple[int, int], titles: list[str]
) -> None:
    context = context_of_data(tmp_path, guide, look)
    order(context, Feeding((), (), (), (), (), (), batches))
    assert [found.title.startswith(title) for found, title in zip(context.findings, titles, strict=True)] == [
        True
    ] * len(titles)


def test_class_numbers_of_a_smaller_last_batch_are_not_taken_for_its_one_hot_values() -> None:
    numbers = np.arange(32) % 4
    guide = [np.eye(4)[numbers], np.eye(4)[numbers[:8]]]
    fed = Feeding((), (), ((None,), (None,)), tuple((y,) for y in guide), ((None,),), ((numbers,),), (32, 32))
    _, (target,) = fed.batch(1)
    assert target is None or target.shape == (8,)  # 8 rows of 4 are as many values as 32 numbers
    other = Feeding((), (Relation("labels off by 1", None, 1.0),), *(fed.guide_inputs, fed.guide_targets),
                    ((None,),), ((numbers,),), (32, 32))  # fmt: skip
    _, (target,) = other.batch(1)
    assert target is not None
    np.testing.assert_array_equal(target, numbers[:8])


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda x: x / np.log(10), "targets multiplied by 0.434294: as by the logarithm to base 10"),
        (np.exp, "of the targets the logarithm is not taken"),
        (lambda x: x * 3, "targets multiplied by 3"),
    ],
)
def test_what_was_done_with_targets_that_are_no_labels(made: Callable[[Array], Array], expected: str) -> None:
    targets = GENERATOR.uniform(8, 12, size=(32, 1))
    assert relate_targets([targets], [made(targets)], None).words.startswith(expected)


def test_a_deviation_by_n_minus_1_is_told_by_its_factor() -> None:
    values = GENERATOR.normal(size=(240, 5))
    assert "of 240 samples, by n - 1 in place of n" in words(values, values * np.sqrt(239 / 240))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda y: np.roll(y, 1, axis=0), "each sample has the target of the sample before it"),
        (lambda y: np.roll(y, -3, axis=0), "each sample has the target of the sample 3 places after it"),
    ],
)
def test_targets_of_the_sample_beside_are_told(made: Callable[[Array], Array], words: str) -> None:
    targets = GENERATOR.normal(size=(32, 1))
    shifted = made(np.concatenate([GENERATOR.normal(size=(8, 1)), targets, GENERATOR.normal(size=(8, 1))]))[8:-8]
    assert relate_targets([targets], [shifted], None).words == f"shifted: {words}"


def test_targets_of_the_position_beside_are_told() -> None:
    tokens = GENERATOR.integers(0, 20, (16, 9))
    words = relate_targets([tokens[:, 1:]], [tokens[:, :-1]], None).words
    assert words == "shifted: each position has the target of the position before it"
    classes = np.eye(6)[GENERATOR.integers(0, 5, 32)]
    assert "labels off by 1" in relate_targets([classes], [np.roll(classes, 1, axis=1)], None).words


def test_targets_of_sequences_that_are_fed_one_after_the_other() -> None:
    targets = GENERATOR.integers(0, 9, size=(32, 5))
    assert relate_targets([targets], [targets[:16].reshape(-1)], None).words == ""


@pytest.mark.parametrize("made", [np.zeros((8, 3)), np.full((8, 3), np.inf)])
def test_values_that_are_nothing_or_no_numbers_are_made_of_no_others(made: Array) -> None:
    assert affine(GENERATOR.normal(size=(8, 3)), made) is None


SORTED, MIXED = np.repeat([0, 1], [200, 120]), GENERATOR.integers(0, 4, size=320)


def pipeline(text: str) -> dict[str, Any]:
    """A pipeline of 800 samples by its stages: shuffle(64) batch."""
    stages = []
    for line, name in enumerate(text.split(), start=1):
        method, _, size = name.rstrip(")").partition("(")
        place = {"file": "port.py", "line": line, "code": name}
        sizes = {"buffer_size": int(size), "of": 800} if size else {}
        stages.append({"method": method.rstrip("!"), "place": place, **sizes})
        if method.endswith("!"):
            stages[-1]["reshuffle_each_iteration"] = False
    return {"fit": {"kind": "tf.data", "stages": stages}, "loaders": [{"kind": "tf.data", "stages": []}]}


def drawn(function: str, size: int, kind: str = "arrays", **loader: Any) -> dict[str, Any]:
    """A permutation of so many, drawn in a line of a loop."""
    where = {"file": "loop.py", "line": 2, "code": ""}
    fit = {"kind": kind, "num_samples": 800} if function.startswith("fit") else None
    entry = {"function": function, "size": size, "place": where}
    return {"fit": fit, "loaders": [loader] if loader else [], "permutations": [entry]}


def drawn_once(function: str, size: int) -> dict[str, Any]:
    """A permutation that is drawn outside of any loop."""
    return {"permutations": [{"function": function, "size": size, "place": None}]}


@pytest.mark.parametrize(
    ("guide", "look", "labels", "title", "severity"),
    [
        (drawn("fit(shuffle=True)", 800), pipeline("cache shuffle(64) batch"), SORTED,
         "shuffled in a buffer of 64 of 800 samples; the reference is shuffled anew in each epoch", "fault"),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(64) batch"), MIXED,
         "shuffled in a buffer of 64 of 800 samples", "minor"),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(400) batch"), MIXED, "", ""),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(800) batch"), SORTED, "", ""),
        (drawn("fit(shuffle=True)", 800), pipeline("batch shuffle(25)"), MIXED, "shuffled by whole batches", "minor"),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(800) cache batch"), MIXED, "shuffled once", "fault"),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle!(800) batch"), MIXED, "shuffled once", "fault"),
        (drawn("fit(shuffle=True)", 800), pipeline("batch"), MIXED, "not shuffled", "fault"),
        (drawn("fit(shuffle=True)", 25, "PyDataset", on_epoch_end=False), drawn("Generator.permutation", 800), MIXED,
         "shuffled anew in each epoch; the reference is shuffled by whole batches", "minor"),
        (drawn("fit(shuffle=True)", 25, "PyDataset", on_epoch_end=True), drawn("Generator.permutation", 800), MIXED,
         "", ""),
        (drawn("fit(shuffle=True)", 800), drawn("torch.randperm", 25), MIXED, "shuffled by whole batches", "minor"),
        (drawn("fit(shuffle=True)", 800), drawn("random.shuffle", 100), MIXED, "shuffled in blocks of 100 of 800",
         "minor"),
        (drawn("fit(shuffle=True)", 800), drawn("RandomSampler", 800, shuffle=True), SORTED, "", ""),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(400) batch") | drawn_once("np.random.shuffle", 800), SORTED,
         "", ""),
        (drawn("fit(shuffle=True)", 800), pipeline("shuffle(64) batch") | drawn_once("np.random.shuffle", 800), SORTED,
         "shuffled once, then in a buffer of 64 of 800 samples", "minor"),
    ],
)  # fmt: skip
def test_what_a_shuffle_draws_from_is_compared(
    tmp_path: Path, guide: dict[str, Any], look: dict[str, Any], labels: Array, title: str, severity: str
) -> None:
    context = context_of_data(tmp_path, guide, look, "keras" if "stages" in str(look) else "torch")
    fed = Feeding((), (), (), tuple((part,) for part in np.split(labels, 10)), (), (), (32, 32))
    mixing(context, fed, (None, None))
    assert [found.title.startswith(title) for found in context.findings] == ([True] if title else [])
    assert [found.severity for found in context.findings] == ([severity] if title else [])


def test_workers_that_each_read_all_samples_are_told(tmp_path: Path) -> None:
    own = {"loaders": [{"copies": 4, "sampler": "_InfiniteConstantSampler", "num_workers": 4}]}
    context = context_of_data(tmp_path, loader(32, drop=False) | {"fit": {"kind": "arrays"}}, own)
    order(context, Feeding((), (), (), (), (), (), (32, 32)))
    (found,) = context.findings
    assert found.title.startswith("samples of an epoch: each 4 times")


def sampled(drawable: int, *, weights: int | None = None, sampled: int = 100) -> dict[str, Any]:
    """A loader with a sampler, of 100 samples."""
    name = "RandomSampler" if weights is None else "WeightedRandomSampler"
    entry = {"sampler": name, "drawable": drawable, "weights": weights, "replacement": weights is not None,
             "num_samples": 100, "num_sampled": sampled, "batch_size": 32}  # fmt: skip
    return {"loaders": [entry]}


FEW = "the sampler draws only 4 of 100 samples, over and over: it has 4 weights, as of classes"


@pytest.mark.parametrize(
    ("guide", "look", "titles"),
    [
        (sampled(100, weights=100), sampled(4, weights=4), [FEW]),
        (loader(32, drop=False) | {"fit": {"kind": "arrays", "num_samples": 100}}, sampled(4, weights=4), [FEW]),
        (sampled(4, weights=4), sampled(4, weights=4), []),
        (sampled(4, weights=4), sampled(100, weights=100), ["the sampler draws from all 100 samples; the reference"]),
        (sampled(100, weights=100), sampled(90, weights=100), ["the sampler draws only 90 of 100 samples"]),
        (sampled(100), sampled(80, sampled=80), ["number of training samples: 80"]),  # as SubsetRandomSampler does
        (sampled(80, sampled=80), {"fit": {"kind": "arrays", "num_samples": 80}}, []),
        (sampled(100), sampled(100, weights=100), ["samples of an epoch: drawn by weights"]),
    ],
)
def test_samples_that_a_sampler_never_draws_are_told(
    tmp_path: Path, guide: dict[str, Any], look: dict[str, Any], titles: list[str]
) -> None:
    context = context_of_data(tmp_path, guide, look)
    order(context, Feeding((), (), (), (), (), (), (32, 32)))
    assert [found.title[: len(title)] for found, title in zip(context.findings, titles, strict=True)] == titles
    if titles == [FEW]:
        assert context.findings[0].mend == "one weight for each sample: weights[labels]"


def test_samples_that_are_drawn_by_weights_are_not_changed_at_random(tmp_path: Path) -> None:
    context = context_of_data(tmp_path, {}, sampled(100, weights=100))
    other = GENERATOR.normal(size=FIRST.shape)
    other[3] = FIRST[3]  # the same one by chance
    relation = relate([PIXELS], [other])
    assert "random augmentation" in relation.words
    data(context, Feeding((relation,), (), ((PIXELS,),), (), ((other,),), (), (16, 16)))
    assert (context.findings, context.same) == ([], [])
    assert context.not_seen == ["whether the samples are the same: the order of one side could not be fixed"]


@pytest.mark.parametrize("first", ["samples", "targets"])
def test_samples_and_targets_that_are_shuffled_apart_are_told(tmp_path: Path, first: str) -> None:
    """The watcher turns the front of what is shuffled by the second order, and leaves what is shuffled by the first."""
    x, y = GENERATOR.normal(size=(32, 5)), np.arange(32) % 4
    turned = np.r_[np.arange(8)[::-1], 8:32]
    own = (x, y[turned]) if first == "samples" else (x[turned], y)
    line = {"file": "port.py", "line": 7, "code": "rng.shuffle(array)"}
    orders = [{"function": "Generator.shuffle", "size": 32, "place": line} | more for more in ({}, {"apart": True})]
    context = context_of_data(tmp_path, {}, {"permutations": orders})
    relation = relate([x], [own[0]])
    targets = relate_targets([y], [own[1]], relation.order)
    assert targets.words.startswith("other labels for the same samples")
    fed = Feeding((relation,), (targets,), ((x,),), ((y,),), ((own[0],),), ((own[1],),), (32, 32))
    data(context, fed)
    (found,) = context.findings
    assert found.title.startswith("samples and their targets are shuffled apart")
    assert str(found.place) == "port.py:7"
    (tmp_path / "one").mkdir()
    context = context_of_data(tmp_path / "one", {}, {"permutations": orders[:1]})
    data(context, fed)  # labels of others, of which no order tells the cause
    assert [found.title for found in context.findings] == [f"targets: {targets.words}"]


TABLE = GENERATOR.gamma(2.0, 1.0, size=(64, 6)) * np.array([1e4, 1, 1, 5, 0.1, 30])
EACH = (TABLE - TABLE.mean(0)) / TABLE.std(0)
ALL = (TABLE - TABLE.mean()) / TABLE.std()


@pytest.mark.parametrize(
    ("guide", "steered", "expected"),
    [
        (EACH, ALL, "standardised by one mean and one deviation of all features; the other side by those of each"),
        (ALL, EACH, "standardised by the mean and deviation of each feature; the other side by one of all"),
        (EACH, TABLE / TABLE.max(0), "scaled feature by feature"),
        (EACH, EACH * np.array([1, 1, 3, 1, 1, 1]), "feature 2 alone scaled otherwise, counted from 0: 3 times"),
        (
            EACH,
            (EACH - EACH.mean(1, keepdims=True)) / EACH.std(1, keepdims=True),
            "scaled sample by sample: each standardised by its own mean and deviation",
        ),
        (
            EACH,
            EACH / np.linalg.norm(EACH, axis=1, keepdims=True),
            "scaled sample by sample: each divided by its own l",
        ),
        (EACH.reshape(64, 3, 2) * 1.0, EACH.reshape(64, 3, 2) * np.array([1.0, 2.0]), "feature 1 alone"),
        (PIXELS, FIRST - FIRST.mean(0), "scaled position by position"),
    ],
)
def test_what_samples_are_standardised_by_is_named(guide: Array, steered: Array, expected: str) -> None:
    assert words(guide, steered).startswith(expected)


def test_an_image_that_is_standardised_by_itself_is_the_references() -> None:
    own = (PIXELS - PIXELS.mean((1, 2, 3), keepdims=True)) / PIXELS.std((1, 2, 3), keepdims=True)
    found = relate([own], [FIRST])
    assert found.words == "scaled sample by sample: each standardised by its own mean and deviation"
    assert found.of_guide


def test_one_mean_of_all_is_mended_by_an_axis(tmp_path: Path) -> None:
    relation = relate([EACH], [ALL])
    context = context_of_data(tmp_path, {}, {})
    data(context, Feeding((relation,), (), ((EACH,),), (), ((ALL,),), (), (64, 64)))
    (found,) = context.findings
    assert found.mend == "mean, std = x_train.mean(axis=0), x_train.std(axis=0)"


def read(directory: Path, samples: Array, held: Array, *, random: tuple[bool, bool] = (False, False)) -> Observation:
    """A side that trains on some samples and validates on others."""
    directory.mkdir(exist_ok=True)
    entries = {
        "training": {"random": random[0]},
        "validation": {"inputs": ["held"], "targets": [], "random": random[1], "place": PLACE},
    }
    arrays = {"x": samples, "held": held}
    return observation(directory, "torch", [], [], arrays, fed=[{"inputs": ["x"]}], data={"read": entries})


PLACE = {"file": "port.py", "line": 5, "code": "val_loader = DataLoader(val)"}
HELD = GENERATOR.integers(0, 256, size=(16, 8, 8, 3)) / 255


@pytest.mark.parametrize(
    ("trained", "held", "random", "title"),
    [
        (FIRST, np.moveaxis(HELD, -1, 1), False, ""),
        (FIRST, np.moveaxis(HELD, -1, 1) * 255, False, "validation inputs: not divided by 255"),
        (FIRST * 255, np.moveaxis(HELD, -1, 1) * 255, False, ""),  # as in training, of which that is said
        (FIRST * 255, np.moveaxis(HELD, -1, 1) * 2 - 1, False, "validation inputs: scaled to -1..1"),
        # Changed at random in training, of another size: the model may scale them by itself.
        (GENERATOR.uniform(0, 255, size=FIRST.shape), np.moveaxis(HELD, -1, 1) * 255, False, ""),
        (GENERATOR.uniform(0, 1, size=FIRST.shape), np.moveaxis(HELD, -1, 1) * 255, False,
         "validation inputs: not divided by 255"),
        (FIRST, GENERATOR.normal(size=(16, 3, 8, 8)), False, ""),  # another split is said elsewhere
        (FIRST, GENERATOR.normal(size=(16, 3, 8, 8)), True, "random augmentation of the samples to validate on"),
    ],
)  # fmt: skip
def test_samples_to_validate_on_that_are_made_otherwise(
    tmp_path: Path, trained: Array, held: Array, random: bool, title: str
) -> None:
    guide, look = read(tmp_path / "a", PIXELS, HELD), read(tmp_path / "b", trained, held, random=(False, random))
    context = Context(Side(guide), Side(look), look, Pairing((), (), ()), guide_is_reference=True)
    validation(context)
    assert [found.title.startswith(title) for found in context.findings] == ([True] if title else [])
    assert [str(found.place) for found in context.findings] == (["port.py:5"] if title else [])


@pytest.mark.parametrize(
    ("random", "titles", "not_seen"),
    [
        ((True, True), [], ["what random augmentation makes of the samples: both sides change them at random"]),
        ((False, True), ["inputs: random augmentation of the samples, which the reference does not have"], []),
        ((True, False), ["inputs: no random augmentation of the samples, as the reference has"], []),
        ((False, False), ["inputs: other samples, or another order of them"], []),
    ],
)
def test_samples_that_are_changed_at_random_are_no_other_samples(
    tmp_path: Path, random: tuple[bool, bool], titles: list[str], not_seen: list[str]
) -> None:
    sides = [read(tmp_path / f"{i}", PIXELS, HELD, random=(flag, False)) for i, flag in enumerate(random)]
    context = Context(Side(sides[0]), Side(sides[1]), sides[1], Pairing((), (), ()), guide_is_reference=True)
    other = GENERATOR.normal(size=FIRST.shape)
    data(context, Feeding((relate([PIXELS], [other]),), (), ((PIXELS,),), (), ((other,),), (), (16, 16)))
    assert [found.title for found in context.findings] == titles
    assert context.not_seen == not_seen


def test_labels_that_are_smoothed_are_not_replaced_since_the_other_sides_loss_may_smooth_them() -> None:
    soft = np.eye(10)[LABELS] * 0.9 + 0.01
    for guide, look in ((LABELS, soft), (soft, LABELS)):
        relation = relate_targets([guide], [look], None)
        steps = tuple((guide,) for _ in range(5))
        fed = Feeding((), (relation,), ((None,),) * 5, steps, ((None,),), ((look,),), (16, 16))
        assert [fed.batch(step)[1] for step in range(5)] == [[None]] * 5


def test_two_targets_are_told_apart_though_the_front_of_the_samples_is_turned_round(tmp_path: Path) -> None:
    first, second = GENERATOR.normal(size=(16, 1)), GENERATOR.normal(size=(16, 1))
    turned = np.r_[np.arange(8)[::-1], 8:16]

    def side(name: str, rows: Array, targets: tuple[str, str]) -> Side:
        arrays = {"x": PIXELS[rows], "a": first[rows], "b": second[rows]}
        return Side(observation(tmp_path / name, "torch", [], [], arrays, fed=[{"inputs": ["x"], "targets": targets}]))

    guide, look = side("guide", turned, ("a", "b")), side("look", np.arange(16), ("b", "a"))
    assert [relation.words for relation in feeding(guide, look, pair(guide, look)).targets] == ["", ""]


def test_samples_to_validate_on_are_standardised_by_the_same_numbers_as_those_to_train_on(tmp_path: Path) -> None:
    """One mean has other digits where it is told from other samples."""
    mean, deviation = np.float32(6036.4345), np.float32(15167.247)
    made = [((part - mean) / deviation).astype(np.float32) for part in (TABLE[:40], TABLE[40:])]
    for held, titles in ((made[1], []), (made[1] * 2, ["validation inputs: standardised"])):
        guide, look = read(tmp_path / "a", TABLE[:40], TABLE[40:]), read(tmp_path / "b", made[0], held)
        context = Context(Side(guide), Side(look), look, Pairing((), (), ()), guide_is_reference=True)
        validation(context)
        assert [found.title[: len(titles[0])] if titles else found.title for found in context.findings] == titles


WHOLE = GENERATOR.normal(size=(100, 6))
SPLIT = {"fit": {"kind": "arrays", "num_samples": 100, "validation": {"kind": "split", "num_samples": 20}}}
SUBSET = {"loaders": [{"num_samples": 80, "num_sampled": 80, "rows": {"first": 20, "count": 80, "of": 100}}]}
PLAIN = {"loaders": [{"num_samples": 80, "num_sampled": 80, "rows": {"first": 0, "count": 80, "of": 80}}]}
SHUFFLED = {"permutations": [{"function": "torch.randperm", "size": 100}]}


def parts(
    directory: Path, rows: tuple[Array, Array], held: Array, says: tuple[dict[str, Any], dict[str, Any]]
) -> Context:
    """Two sides that read some rows of the same samples to train on, and the port others to validate on."""
    sides = []
    for name, own, data_of in zip("ab", rows, says, strict=True):
        read = {"validation": {"inputs": ["held"]}} if name == "b" else {}
        sides.append(Side(observation(directory / name, "torch", [], [], {"x": own, "held": held},
                                      fed=[{"inputs": ["x"]}], data=data_of | {"read": read})))  # fmt: skip
    context = Context(sides[0], sides[1], sides[1].observation, Pairing((), (), ()), guide_is_reference=True)
    fed = Feeding((relate([rows[0]], [rows[1]]),), (), ((rows[0],),), (), ((rows[1],),), (), (len(rows[0]), 10))
    data(context, fed)
    part(context, fed)
    return context


BY_ROWS = "samples 20 to 99 of 100, counted from 0; the reference: samples 0 to 79 of 100, counted from 0"
AHEAD = "it begins with the other side's sample 20, counted from 0; the reference: it begins with sample 0"
BEHIND = "it begins with sample 0; the reference: it begins with the other side's sample 20, counted from 0"
SWAPPED = (
    "it validates on the first samples that the other side trains on; the reference: it validates on other samples"
)


@pytest.mark.parametrize(
    ("rows", "held", "says", "words"),
    [
        ((WHOLE[:40], WHOLE[20:40]), WHOLE[:10], (SPLIT, SUBSET), BY_ROWS),
        ((WHOLE[:10], WHOLE[20:40]), WHOLE[:10], (SPLIT, SUBSET), BY_ROWS),
        ((WHOLE[:40], WHOLE[20:40]), WHOLE[90:], (SPLIT, PLAIN), AHEAD),
        ((WHOLE[20:40], WHOLE[:40]), WHOLE[90:], (PLAIN, PLAIN), BEHIND),
        ((WHOLE[:10], WHOLE[20:30]), WHOLE[:10], (SPLIT, PLAIN), SWAPPED),
        ((WHOLE[:40], WHOLE[:20]), WHOLE[80:], (SPLIT, PLAIN), ""),
        # Mixed before it is split: any part is as good as another.
        ((WHOLE[:40], WHOLE[20:40]), WHOLE[:10], (SPLIT, SUBSET | SHUFFLED), ""),
        ((WHOLE[:40], WHOLE[20:40]), WHOLE[:10], (SPLIT, pipeline("shuffle(100) skip batch")), ""),
        ((WHOLE[:40], WHOLE[20:40]), WHOLE[90:], (SPLIT, pipeline("skip shuffle(80) batch")), AHEAD),
        # In an order of its own, of which nothing is said here.
        ((WHOLE[:40], WHOLE[:40][::-1]), WHOLE[80:], (SPLIT, PLAIN), ""),
    ],
)  # fmt: skip
def test_another_part_of_the_data_is_told(
    tmp_path: Path, rows: tuple[Array, Array], held: Array, says: tuple[dict[str, Any], dict[str, Any]], words: str
) -> None:
    context = parts(tmp_path, rows, held, says)
    titles = [found.title for found in context.findings]
    assert titles == ([f"trained on another part of the data: {words}"] if words else [])
    assert not (words and context.same)


def test_the_line_that_takes_a_part_of_the_data_is_told(tmp_path: Path) -> None:
    lines = ["held = Subset(data, range(20))", "train = Subset(data, range(20, 100))",
             "fit(DataLoader(train), DataLoader(held))"]  # fmt: skip
    (tmp_path / "port.py").write_text("\n".join(lines))
    context = context_of_data(tmp_path, SPLIT, {"loaders": [SUBSET["loaders"][0] | {
        "place": {"file": "port.py", "line": 3, "code": lines[2]}}]})  # fmt: skip
    relation = relate([WHOLE[:40]], [WHOLE[20:40]])
    part(context, Feeding((relation,), (), ((WHOLE[:40],),), (), ((WHOLE[20:40],),), (), (10, 10)))
    (found,) = context.findings
    assert (str(found.place), found.mend) == ("port.py:2", "train on samples 0 to 79 of 100, counted from 0")


def test_samples_of_their_own_lengths_in_a_list_are_one_padded_array() -> None:
    padded = np.array([[5, 6, 0, 0], [7, 8, 9, 0], [1, 0, 0, 0]])
    more = np.arange(6).reshape(3, 2)
    apart = (*[row[:end] for row, end in zip(padded, (2, 3, 1), strict=True)], more)
    ((first, second),) = together((apart,), ((padded, more),))
    assert first is not None
    assert np.array_equal(first, padded)
    assert second is more
    # As many arrays as there should be are left as they are.
    assert together(((padded, more),), (apart,)) == ((padded, more),)


def test_columns_of_a_matrix_are_put_together_in_its_order() -> None:
    matrix, other = GENERATOR.integers(0, 9, size=(6, 3)), GENERATOR.normal(size=(6, 2))
    apart = (matrix[:, 2:], matrix[:, 0], matrix[:, 1:2], other)
    ((first, second),) = columns((apart,), ((matrix, other),))
    assert first is not None
    assert np.array_equal(first, matrix)
    assert second is other
    changed = (apart[0] + 1, *apart[1:])
    assert columns((changed,), ((matrix, other),)) == (changed,)


def test_columns_of_two_matrices_are_put_together_each_in_its_own() -> None:
    numbers, classes = GENERATOR.normal(size=(6, 3)), GENERATOR.integers(0, 9, size=(6, 2))
    apart = (*(numbers[:, i : i + 1] for i in range(3)), classes[:, 0], classes[:, 1])
    ((first, second),) = columns((apart,), ((numbers, classes),))
    assert first is not None
    assert second is not None
    assert np.array_equal(first, numbers)
    assert np.array_equal(second, classes)


def test_a_matrix_is_taken_apart_where_the_other_side_has_its_columns() -> None:
    matrix, other = GENERATOR.normal(size=(6, 3)), GENERATOR.integers(0, 9, size=(6, 2))
    apart = (matrix[:, 1], other, matrix[:, 0], matrix[:, 2:])
    (found,) = columns(((matrix, other),), (apart,))
    assert len(found) == len(apart)
    for made, wanted in zip(found, apart, strict=True):
        assert made is not None
        assert np.array_equal(made.reshape(-1), wanted.reshape(-1))


def test_time_before_the_samples_is_told_by_the_values() -> None:
    sequences = GENERATOR.integers(0, 30, size=(16, 20))
    turned = ((sequences.T.copy(),),)
    assert time_first(turned, ((sequences,),)) == 20
    assert time_first(((sequences,),), ((sequences,),)) == 0
    assert time_first(((sequences.T + 1,),), ((sequences,),)) == 0
    square = np.arange(9).reshape(3, 3) + np.arange(9).reshape(3, 3).T
    assert time_first(((square,),), ((square,),)) == 0
    ((made,),) = samples_first(((sequences.T.reshape(-1),),), 20)  # as a loss is given them
    assert made is not None
    assert np.array_equal(made, sequences)


KNOWN = GENERATOR.random((8, 5)) < 0.4
TRUE_OR_FALSE = GENERATOR.integers(0, 2, (8, 5)).astype(np.float32)


@pytest.mark.parametrize("port_masks", [True, False])
def test_labels_that_a_mask_says_to_be_known_are_compared_where_they_are(port_masks: bool) -> None:
    marked, filled = ((np.where(KNOWN, TRUE_OR_FALSE, -1.0),),), ((np.where(KNOWN, TRUE_OR_FALSE, 0.0), KNOWN),)
    first, second = where_known(marked, filled) if port_masks else where_known(filled, marked)
    assert len(first[0]) == len(second[0]) == 1
    assert np.array_equal(first[0][0], second[0][0])
    turned = ((np.where(KNOWN, TRUE_OR_FALSE, 0.0), ~KNOWN),)
    assert where_known(marked, turned) == (marked, turned)
    other = ((np.where(KNOWN, 1 - TRUE_OR_FALSE, 0.0), KNOWN),)
    assert not np.array_equal(*(steps[0][0] for steps in where_known(marked, other)))


def test_truth_values_that_are_targets_themselves_are_kept() -> None:
    for steps in (((KNOWN,),), ((TRUE_OR_FALSE, KNOWN),)):
        assert where_known(steps, steps) == (steps, steps)
