"""`python -m benchmarks.scripts.ensemble`: runs an hour of many seeds in one process, against a process a seed.

Both train with one thread a process and in the same interleaved rounds. What is compared is CPU time,
which other work on the machine disturbs little; a core that does nothing else takes as long on the
wall. Writes docs/scale.json and the figures in docs/scale.md.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures.scale import DOCUMENT, FIGURES, fill_in
from benchmarks.measure import machine
from benchmarks.measure.process import ROOT, Finished, run
from recipe import Recipe


def together(seeds: int, epochs: int) -> Finished:
    """`fit_seeds` of so many seeds."""
    with tempfile.TemporaryDirectory() as directory:
        options = ("--recipe.epochs", str(epochs), "--device", "cpu", "--out", f"{directory}/records")
        return run("-m", "lightning_impl", "fit_seeds", "--seeds", str(seeds), *options, threads=1)


def alone(epochs: int) -> Finished:
    """A worker's run of one seed."""
    with tempfile.TemporaryDirectory() as directory:
        recipe = Path(directory) / "recipe.json"
        recipe.write_text(Recipe(epochs=epochs).to_json())
        return run("-m", "lightning_impl.worker", "--device", "cpu", str(recipe), f"{directory}/record", threads=1)


def measure(seeds: list[int], epochs: int, rounds: int) -> dict[str, Any]:
    """Median CPU seconds of a run by how many share a process; 0 stands for a worker's run of its own."""
    seconds: dict[int, list[float]] = {number: [] for number in (0, *seeds)}
    for _ in range(rounds):
        for number, found in seconds.items():
            found.append(together(number, epochs).cpu_seconds / number if number else alone(epochs).cpu_seconds)
    return {
        "epochs": epochs,
        "rounds": rounds,
        "cpu_seconds_a_run": {str(number): statistics.median(found) for number, found in seconds.items()},
    }


def main() -> None:
    """Measures, prints, saves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts.ensemble", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 8, 32], help="how many share a process")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="epochs of each training")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    options = parser.parse_args()
    figures = json.loads((ROOT / FIGURES).read_text())
    figures["seeds_at_once"] = measure(options.seeds, options.epochs, options.rounds) | {"machine": machine.describe()}
    (ROOT / FIGURES).write_text(json.dumps(figures, indent=2) + "\n")
    document = ROOT / DOCUMENT
    document.write_text(fill_in(document.read_text(), figures))
    print(json.dumps(figures["seeds_at_once"], indent=2))


if __name__ == "__main__":
    main()
