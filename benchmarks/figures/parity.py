"""The numbers of `docs/parity.md`, from `docs/parity/figures.json`; measures nothing.

`fill_in` rewrites each of the document's blocks.
"""

from pathlib import Path
from typing import Any

from benchmarks.figures.blocks import fill_blocks, table

DOCUMENT = Path("docs/parity.md")
FIGURES = Path("docs/parity/figures.json")
HORIZON = Path("docs/parity/rounding_horizon.svg")

TARGET = 1e-12
"""Of two float64 runs, after an epoch, how far weights may differ, relative to their tensor."""

Figures = dict[str, Any]


def fill_in(text: str, figures: Figures) -> str:
    """The document with every block as the figures have it."""
    return fill_blocks(text, lambda name: BLOCKS[name](figures))


def _step(step: int | None) -> str:
    return "never" if step is None else f"{step:,}"


def _small(number: float) -> str:
    return f"{number:.2g}"


def _largest(pair: Figures) -> float:
    return float(max(pair["max_loss_difference_by_epoch"]))


def _relative(pair: Figures) -> float:
    """The largest weight difference, relative to the largest weight of the tensor."""
    return float(pair["weights"]["relative_to_largest_of_tensor"])


def _in_norm(pair: Figures) -> float:
    """The Frobenius norm of a tensor's difference relative to the tensor's, the worst tensor's."""
    return float(pair["weights"]["relative_in_norm"])


def _within(numbers: list[float]) -> str:
    """How many of the numbers reach the target."""
    reached = sum(number <= TARGET for number in numbers)
    return "all" if reached == len(numbers) else str(reached)


def _accuracies(pair: Figures) -> str:
    return " / ".join(f"{accuracy:.2%}" for accuracy in pair["test_accuracies"])


def measured(figures: Figures) -> str:
    """The command, the machine and the versions."""
    machine, recipe = figures["hardware"], figures["recipe"]
    sizes = "–".join(map(str, (784, *recipe["hidden_sizes"], 10)))
    packages = ("python", "keras", "tensorflow", "torch", "lightning", "jax", "numpy")
    versions = ", ".join(f"{name} {figures['versions'][name]}" for name in packages)
    return "\n".join(
        [
            f"- Command: `{figures['command']}`",
            (
                f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['vectors']}, "
                f"{machine['memory_gib']} GiB of memory; every run with {machine['threads']} thread"
            ),
            f"- Versions: {versions}",
            (
                f"- Recipe, where nothing else is said: aligned, {sizes} ({figures['num_parameters']:,} parameters), "
                f"batches of {recipe['batch_size']} ({figures['steps_per_epoch']:,} steps an epoch), Adam at "
                f"{recipe['learning_rate']:g}, seed {recipe['seed']}"
            ),
        ]
    )


def float64(figures: Figures) -> str:
    """One epoch in float64, Keras against Lightning, under the default recipe and under others."""
    found = figures["one_epoch"]["float64"]["against_keras_on_tensorflow"]
    default = {"recipe": {}, "num_steps": figures["steps_per_epoch"], **found["Lightning"], "control": found["control"]}
    entries = [default, *figures["variations"]]
    weights = default["weights"]
    rendered = table(
        "changed in the recipe | steps | largest loss difference | A/A | largest weight difference, relative | A/A "
        "| ‖ΔW‖ / ‖W‖ | A/A | digits predicted differently | test accuracies",
        "lrrrrrrrrl",
        (
            [
                ", ".join(f"`{name}={value}`" for name, value in entry["recipe"].items()) or "nothing",
                f"{entry['num_steps']:,}",
                _small(_largest(entry)),
                _small(_largest(entry["control"])),
                _small(_relative(entry)),
                _small(_relative(entry["control"])),
                _small(_in_norm(entry)),
                _small(_in_norm(entry["control"])),
                entry["predicted_differently"],
                _accuracies(entry),
            ]
            for entry in entries
        ),
    )
    relative, in_norm = list(map(_relative, entries)), list(map(_in_norm, entries))
    of_controls = [_relative(entry["control"]) for entry in entries]
    churn = sum(entry["predicted_differently"] for entry in entries)
    own, parameters = weights["beyond_1e-12_of_own"], figures["num_parameters"]
    return (
        f"{rendered}\n\nOver these {len(entries)} recipes (n = 1 run of each side) the losses of no step differ by "
        f"more than {_small(max(map(_largest, entries)))}, and {churn:,} of {10_000 * len(entries):,} test digits are "
        f"predicted differently. ‖ΔW‖ / ‖W‖ is at most {TARGET:g} for every tensor under {_within(in_norm)} of them, "
        f"and nowhere more than {_small(max(in_norm))}. Relative to the largest of its tensor, every single weight is "
        f"within {TARGET:g} under {_within(relative)} of them, and within {_small(max(relative))} under all; of the "
        f"controls, one framework beside itself, {_within(of_controls)} keep that line, and the furthest is "
        f"{_small(max(of_controls))} off.\n\n"
        f"A weight that ends near zero carries the rounding of the larger ones that it was computed with. So {own:,} "
        f"of the default network's {parameters:,} weights ({own / parameters:.2%}) differ by more than {TARGET:g} of "
        f"their own size, the worst by {_small(weights['relative_to_own'])} of it; none by more than "
        f"{_small(weights['absolute'])}."
    )


def ten_epochs(figures: Figures) -> str:
    """Ten epochs: when the two part, and when each parts from itself."""
    rows = []
    for dtype, found in figures["horizon"].items():
        families = {f"{side} – itself": pairs for side, pairs in found["controls"].items()}
        for name, pairs in {"Keras – Lightning": [found["between"]], **families}.items():
            churn = [pair["predicted_differently"] for pair in pairs]
            accuracies = [accuracy for pair in pairs for accuracy in pair["test_accuracies"]]
            rows.append(
                [
                    dtype,
                    name,
                    len(pairs),
                    *_partings(pairs),
                    f"{min(churn)} to {max(churn)}" if len(pairs) > 1 else churn[0],
                    f"{min(accuracies):.2%} to {max(accuracies):.2%}",
                ]
            )
    rendered = table(
        "dtype | runs | pairs | parted at step | largest loss difference | digits predicted differently "
        "| test accuracies",
        "llrrrrr",
        rows,
    )
    verdicts = ", ".join(
        f"*{verdict}* in {dtype} against the controls of {side}"
        for dtype, found in figures["horizon"].items()
        for side, verdict in found["trajectory_rung"].items()
    )
    return f"{rendered}\n\nThe verdict of the rung `trajectory` on Keras – Lightning: {verdicts}."


def _partings(pairs: list[Figures]) -> list[str]:
    """The steps of parting in their order, and the range of the largest differences."""
    steps = sorted((pair["parted_at_step"] for pair in pairs), key=lambda step: step or float("inf"))
    largest = sorted(map(_largest, pairs))
    differences = f"{largest[0]:.2g}" if len(pairs) == 1 else f"{largest[0]:.2g} to {largest[-1]:.2g}"
    return [", ".join(map(_step, steps)), differences]


def horizon(figures: Figures) -> str:
    """The largest loss difference of each epoch, and by what factor it grows."""
    columns: dict[str, list[Figures]] = {}
    for dtype, found in figures["horizon"].items():
        columns[f"{dtype}: Keras – Lightning"] = [found["between"]]
        columns[f"{dtype}: Lightning – itself"] = found["controls"]["Lightning"]
    rows: list[list[str]] = [
        [
            str(epoch + 1),
            *(_range([pair["max_loss_difference_by_epoch"][epoch] for pair in c]) for c in columns.values()),
        ]
        for epoch in range(figures["recipe"]["epochs"])
    ]
    rows.append(["parted at step", *(_partings(pairs)[0] for pairs in columns.values())])
    rendered = table("epoch | " + " | ".join(columns), "l" + "r" * len(columns), rows)
    return f"{rendered}\n\n{_growth(figures)}"


def _range(numbers: list[float]) -> str:
    lowest, highest = _small(min(numbers)), _small(max(numbers))
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _growth(figures: Figures) -> str:
    """How fast the float64 difference between the two grows, over the whole epochs before they part."""
    pair = figures["horizon"]["float64"]["between"]
    differences, parted = pair["max_loss_difference_by_epoch"], pair["parted_at_step"]
    whole = len(differences) if parted is None else (parted - 1) // figures["steps_per_epoch"]
    factor = (differences[whole - 1] / differences[0]) ** (1 / (whole - 1))
    return (
        f"In float64 the difference between Keras and Lightning grows {factor:,.0f}-fold an epoch, on average, from "
        f"{_small(differences[0])} in epoch 1 to {_small(differences[whole - 1])} in epoch {whole}. They part at step "
        f"{_step(parted)}, and end at {_accuracies(pair)} accuracy with {pair['predicted_differently']} of 10,000 "
        f"digits predicted differently. In float32 they part at step "
        f"{_step(figures['horizon']['float32']['between']['parted_at_step'])}."
    )


def backends(figures: Figures) -> str:
    """One epoch on each backend of Keras, and Lightning."""
    reference = "Keras on TensorFlow"
    names = {
        "control": f"{reference}, one unit in the last place away",
        "promoted": "Keras on torch, as it comes",
    }
    rows = []
    for dtype, found in figures["one_epoch"].items():
        pairs = {
            f"{reference} – {names.get(side, side)}": p for side, p in found["against_keras_on_tensorflow"].items()
        }
        pairs |= {f"Lightning – {side}": pair for side, pair in found["against_lightning"].items()}
        for name, pair in pairs.items():
            difference, churn = _small(_largest(pair)), pair["predicted_differently"]
            rows.append(
                [
                    dtype,
                    name,
                    _step(pair["parted_at_step"]),
                    difference,
                    _small(_relative(pair)),
                    churn,
                    _accuracies(pair),
                ]
            )
    return table(
        "dtype | runs | parted at step | largest loss difference | largest weight difference, relative "
        "| digits predicted differently | test accuracies",
        "llrrrrl",
        rows,
    )


def pixels(figures: Figures) -> str:
    """How torchvision's transforms scale grey levels."""
    return table(
        "transform | grey levels of 256 that are not x / 255 | by units in the last place",
        "lrr",
        (
            [f"`{name}`", found["levels"], f"{found['units_in_the_last_place']:g}"]
            for name, found in figures["scaled_pixels"].items()
        ),
    )


BLOCKS = {block.__name__: block for block in (measured, float64, ten_epochs, horizon, backends, pixels)}
