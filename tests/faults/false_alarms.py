"""`python -m tests.faults.false_alarms [COUNT [FIRST]]`: how often clean pairs fail the two last rungs.

Each pair is a clean network and one that adds up in another order and in other forms, with three A/A controls, trained
anew from a seed of its own under a recipe drawn from a few. Prints one line a pair that is not in parity, then writes
the counts into docs/parity.md.
"""

import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np

from compare.ladder.outcome import outcome
from compare.ladder.rung import Rung
from compare.ladder.trajectory import trajectory
from recipe import Recipe
from recipe.mnist import Digits
from record.training import RunRecord
from tests.faults.clean import TorchsForm, digits
from tests.faults.table import DOCUMENT, between_marks
from tests.faults.zoo import Base

NUM_IMAGES, NUM_TEST_IMAGES, NUM_CONTROLS = 2000, 1000, 3


def few_digits(seed: int) -> Digits:
    """Other images for each seed."""
    random = np.random.default_rng(seed)
    train, test = random.permutation(60_000)[:NUM_IMAGES], random.permutation(10_000)[:NUM_TEST_IMAGES]
    whole = digits()
    return Digits(whole.x_train[train], whole.y_train[train], whole.x_test[test], whole.y_test[test])


def recipe_of_pair(seed: int) -> Recipe:
    """Two in three in float32; learning rates with which runs part at once, late and never."""
    random = np.random.default_rng([1, seed])
    return Recipe(
        seed=seed,
        dtype=str(random.choice(["float32", "float32", "float64"])),
        hidden_sizes=tuple(int(n) for n in random.choice([8, 16, 32], random.integers(1, 4))),
        batch_size=int(random.choice([20, 50, 100])),
        epochs=int(random.integers(1, 7)),
        learning_rate=float(10 ** random.uniform(-3.5, -1.5)),
    )


def trained(network: type[Base], recipe: Recipe, few: Digits, perturbation: int) -> RunRecord:
    """A run that says it is of the recipe, from initial weights so many times a rounding away."""
    fields = {**vars(recipe), "perturbation": perturbation}
    net = network(Recipe(**fields), few)
    return RunRecord(**net.train(), **{**net.header(), "recipe": recipe})


def judged(seed: int) -> list[Rung]:
    """The two last rungs of one pair."""
    recipe, few = recipe_of_pair(seed), few_digits(seed)
    family = [trained(Base, recipe, few, number) for number in range(NUM_CONTROLS + 1)]
    runs = {"clean": family[0], "other": trained(TorchsForm, recipe, few, 0)}
    return [trajectory(runs, family), outcome(runs, family, few, margin=0.005)]


def main(count: int, first: int) -> None:
    found: Counter[tuple[str, str, str]] = Counter()
    for seed in range(first, first + count):
        for rung in judged(seed):
            found[rung.name, recipe_of_pair(seed).dtype, rung.verdict] += 1
            if rung.verdict != "parity":
                print(seed, rung.name, rung.verdict, rung.where, rung.cause, recipe_of_pair(seed), flush=True)
    text = table(found)
    print(text)
    DOCUMENT.write_text(between_marks(DOCUMENT.read_text(), "alarms", text))


def table(found: Counter[tuple[str, str, str]]) -> str:
    """How many pairs of which verdict, by rung and dtype."""
    lines = [
        "| rung | dtype | clean pairs | parity | inconclusive | not parity |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for rung, dtype in sorted({(name, dtype) for name, dtype, _ in found}, reverse=True):
        counts = [found[rung, dtype, verdict] for verdict in ("parity", "inconclusive", "not parity")]
        lines.append(f"| `{rung}` | {dtype} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"


def options(words: list[str]) -> Iterator[int]:
    """How many, from which seed on."""
    yield int(words[0]) if words else 500
    yield int(words[1]) if len(words) > 1 else 0


if __name__ == "__main__":
    main(*options(sys.argv[1:]))
