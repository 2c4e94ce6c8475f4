"""The numbers of `docs/parity.md`, from `docs/parity/figures.json`; measures nothing.

The document holds blocks between `<!-- figures:begin NAME -->` and `<!-- figures:end -->`, and
`fill_in` writes each anew.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DOCUMENT = Path("docs/parity.md")
FIGURES = Path("docs/parity/figures.json")
HORIZON = Path("docs/parity/rounding_horizon.svg")

BLOCK = re.compile(r"(<!-- figures:begin (\w+) -->\n).*?(<!-- figures:end -->)", re.DOTALL)

Figures = dict[str, Any]


def fill_in(text: str, figures: Figures) -> str:
    """The document with every block as the figures have it."""
    return BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]](figures)}\n{match[3]}", text)


def _table(header: str, alignment: str, rows: Iterable[Iterable[Any]]) -> str:
    """A table; `alignment` has a letter a column, l or r."""
    rule = " | ".join({"l": "---", "r": "---:"}[letter] for letter in alignment)
    lines = [header, rule, *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _step(step: int | None) -> str:
    return "never" if step is None else f"{step:,}"


def _small(number: float) -> str:
    return f"{number:.1e}" if number else "0"


def _largest(pair: Figures) -> float:
    return float(max(pair["max_loss_difference_by_epoch"]))


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
    default = figures["one_epoch"]["float64"]["against_keras_on_tensorflow"]["Lightning"]
    entries = [{"recipe": {}, "num_steps": figures["steps_per_epoch"], **default}, *figures["variations"]]
    weights = default["weights"]
    table = _table(
        "changed in the recipe | steps | largest loss difference | largest weight difference "
        "| relative to the tensor's largest | digits predicted differently | test accuracy",
        "lrrrrrl",
        (
            [
                ", ".join(f"`{name}={value}`" for name, value in entry["recipe"].items()) or "nothing",
                f"{entry['num_steps']:,}",
                _small(_largest(entry)),
                _small(entry["weights"]["absolute"]),
                _small(entry["weights"]["relative_to_largest_of_tensor"]),
                entry["predicted_differently"],
                _accuracies(entry),
            ]
            for entry in entries
        ),
    )
    own = weights["beyond_1e-12_of_own"]
    return (
        f"{table}\n\nOver these {len(entries)} recipes (n = 1 run of each side) the losses of no step differ by more "
        f"than {_small(max(map(_largest, entries)))}, and "
        f"{sum(entry['predicted_differently'] for entry in entries):,} of {10_000 * len(entries):,} test digits are "
        f"predicted differently.\n\nA weight that ends near zero carries the rounding of the larger ones that it was "
        f"computed with. So {own:,} of the default network's {figures['num_parameters']:,} weights "
        f"({own / figures['num_parameters']:.2%}) differ by more than 1e-12 of their own size, the worst by "
        f"{_small(weights['relative_to_own'])} of it; none by more than {_small(weights['absolute'])}."
    )


def float32(figures: Figures) -> str:
    """Ten epochs in float32: when the two part, and when each parts from itself."""
    found = figures["horizon"]["float32"]
    between = found["between"]
    rows = [["Keras – Lightning", 1, *_partings([between]), between["predicted_differently"], _accuracies(between)]]
    for side, pairs in found["controls"].items():
        churn = [pair["predicted_differently"] for pair in pairs]
        accuracies = [accuracy for pair in pairs for accuracy in pair["test_accuracies"]]
        rows.append(
            [
                f"{side} – itself",
                len(pairs),
                *_partings(pairs),
                f"{min(churn)} to {max(churn)}",
                f"{min(accuracies):.2%} to {max(accuracies):.2%}",
            ]
        )
    table = _table(
        "runs | pairs | parted at step | largest loss difference | digits predicted differently | test accuracy",
        "lrrrrl",
        rows,
    )
    verdicts = ", ".join(
        f"*{verdict}* against the controls of {side}" for side, verdict in found["trajectory_rung"].items()
    )
    return f"{table}\n\nThe verdict of the rung `trajectory`: {verdicts}."


def _partings(pairs: list[Figures]) -> list[str]:
    """The steps of parting in their order, and the range of the largest differences."""
    steps = sorted((pair["parted_at_step"] for pair in pairs), key=lambda step: step or float("inf"))
    largest = sorted(map(_largest, pairs))
    differences = f"{largest[0]:.2g}" if len(pairs) == 1 else f"{largest[0]:.2g} to {largest[-1]:.2g}"
    return [", ".join(map(_step, steps)), differences]


def horizon(figures: Figures) -> str:
    """The largest loss difference of each epoch, and by what factor it grows."""
    columns = {
        f"{name}, {dtype}": pair
        for dtype in ("float32", "float64")
        for name, pair in (
            ("Keras – Lightning", figures["horizon"][dtype]["between"]),
            ("Lightning – itself", figures["horizon"][dtype]["controls"]["Lightning"][0]),
        )
    }
    by_epoch = [pair["max_loss_difference_by_epoch"] for pair in columns.values()]
    rows: list[list[Any]] = [
        [number + 1, *(_small(differences[number]) for differences in by_epoch)] for number in range(len(by_epoch[0]))
    ]
    rows.append(["**parted at step**", *(f"**{_step(pair['parted_at_step'])}**" for pair in columns.values())])
    rows.append(["digits predicted differently", *(pair["predicted_differently"] for pair in columns.values())])
    table = _table("epoch | " + " | ".join(columns), "l" + "r" * len(columns), rows)

    pair = figures["horizon"]["float64"]["between"]
    differences, parted = pair["max_loss_difference_by_epoch"], pair["parted_at_step"]
    if parted is None:
        return table
    before = (parted - 1) // figures["steps_per_epoch"]  # whole epochs before the parting
    factor = (differences[before - 1] / differences[0]) ** (1 / (before - 1))
    return (
        f"{table}\n\nIn float64 the difference between Keras and Lightning grows by a factor of about {factor:.0f} an "
        f"epoch, from {_small(differences[0])} in epoch 1 to {_small(differences[before - 1])} in epoch {before}; they "
        f"part at step {parted:,}, and end at {_accuracies(pair)} accuracy with {pair['predicted_differently']} of "
        f"10,000 digits predicted differently."
    )


def backends(figures: Figures) -> str:
    """One epoch on each backend of Keras, and Lightning, each against Keras on TensorFlow."""
    names = {"control": "Keras on TensorFlow, one ulp away (control)", "promoted": "Keras on torch, as it comes"}
    rows = [
        [
            dtype,
            names.get(side, side),
            _step(pair["parted_at_step"]),
            _small(_largest(pair)),
            _small(pair["weights"]["relative_to_largest_of_tensor"]),
            pair["predicted_differently"],
            f"{pair['test_accuracies'][1]:.2%}",
        ]
        for dtype, found in figures["one_epoch"].items()
        for side, pair in found["against_keras_on_tensorflow"].items()
    ]
    return _table(
        "dtype | against Keras on TensorFlow | parted at step | largest loss difference "
        "| largest weight difference, relative | digits predicted differently | its test accuracy",
        "llrrrrr",
        rows,
    )


def pixels(figures: Figures) -> str:
    """How torchvision's transforms scale grey levels."""
    return _table(
        "transform | grey levels of 256 that are not x / 255 | by units in the last place",
        "lrr",
        (
            [f"`{name}`", found["levels"], f"{found['units_in_the_last_place']:g}"]
            for name, found in figures["scaled_pixels"].items()
        ),
    )


BLOCKS = {block.__name__: block for block in (measured, float64, float32, horizon, backends, pixels)}
