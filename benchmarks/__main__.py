"""`python -m benchmarks`: times the project against what else one could write; `--growth`: how the cost grows."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import commands, epochs, growth, machine
from benchmarks.chart import draw_epochs
from benchmarks.process import run
from benchmarks.table import table

RESULTS = Path(__file__).with_name("results.json")
PICTURE = RESULTS.with_suffix(".svg")

WIDTH = 120
"""Of the output, where it is not a terminal."""

WHAT_IS_TIMED = {
    "seconds": "one epoch with all that belongs to it: validation on the 10,000 test digits, progress bar in a "
    "terminal, and on Lightning logger and checkpoint; a bare loop validates too; the floor does not",
    "training_seconds": "the same without the validation",
    "cpu_seconds": "CPU time of the epoch over all threads, with validation",
    "ratio": "median over the rounds of the ratio within a round",
    "warm-up": "the first epoch of each process is not counted, nor is JAX's compiling",
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--growth", action="store_true", help="seconds and memory against size, as docs/speed.svg")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds; every script runs once in each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of every framework")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a process; the first is a warm-up")
    parser.add_argument("--whole-epochs", type=int, default=10, help="epochs of the whole commands")
    parser.add_argument("--only", choices=("epochs", "commands"), help="leave the other half out")
    arguments = parser.parse_args()
    if arguments.repetitions < 1 or arguments.epochs < 2 or min(arguments.threads) < 1:  # noqa: PLR2004 - and a warm-up
        parser.error("--repetitions and --threads must be 1 or more, --epochs 2 or more")
    return arguments


def measure(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Goes round and round over all scripts and commands."""
    here = machine.describe()
    devices = {"cpu": arguments.threads} | ({"gpu": arguments.threads[:1]} if here["gpu"] else {})
    runs: list[epochs.Run] = []
    rounds: list[commands.Times] = []
    for number in range(1, arguments.repetitions + 1):
        console.print(f"round {number} of {arguments.repetitions}")
        if arguments.only != "commands":
            for device, threads in devices.items():
                for one in epochs.one_round(threads, device, arguments.epochs):
                    runs.append(one | {"round": number})
                    console.print(f"  {one['script']}, {device}, {one['threads']} threads: {_seconds(one)}")
        if arguments.only != "epochs":
            rounds.append(commands.one_round(arguments.whole_epochs))
            console.print("  " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in rounds[-1].items()))
    measures = [row for device, threads in devices.items() for n in threads for row in epochs.ratios(runs, n, device)]
    return {
        "machine": here,
        "repetitions": arguments.repetitions,
        "what_is_timed": WHAT_IS_TIMED,
        "same_history": _same_history() if runs else None,
        "measures": (measures if runs else []) + (commands.rows(rounds) if rounds else []),
        "not_measured": [] if here["gpu"] else ["GPU: none found"],
        "runs": runs,
        "commands": rounds,
    }


def _seconds(one: epochs.Run) -> str:
    return f"not measured: {one['not_measured']}" if "not_measured" in one else f"{one['seconds']:.2f} s"


def _same_history() -> dict[str, Any]:
    """Whether the project's Keras and plain `fit` have one history; both are in the results."""
    return run("-m", "benchmarks.same_history", threads=1).report()


def main() -> None:
    """Measures, prints, saves, draws."""
    arguments = parse()
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if arguments.growth:
        growth.main(arguments, console)
        return
    results = measure(arguments, console)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    console.print(table(results))
    console.print(f"n = {results['repetitions']}; {machine.in_a_line(results['machine'])}", soft_wrap=True)
    if results["same_history"]:
        same = results["same_history"]["identical_history"] and results["same_history"]["identical_weights"]
        verdict = "identical to the last digit" if same else "NOT identical"
        console.print(f"Keras against plain fit, same initial weights and order: history and weights {verdict}")
    for line in results["not_measured"]:
        console.print(f"not measured: {line}")
    if results["runs"]:
        draw_epochs(results, PICTURE)
    console.print(f"Results: {RESULTS}", soft_wrap=True)


if __name__ == "__main__":
    main()
