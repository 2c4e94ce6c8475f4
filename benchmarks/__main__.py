"""`python -m benchmarks`: times the project against what else one could write; `--growth`: how the cost grows.

Both write what they measured into docs/speed.md.
"""

import argparse
import json
import shlex
import sys
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.figures import speed as speed_document
from benchmarks.figures.speed import RESULTS
from benchmarks.figures.speed_chart import draw_epochs
from benchmarks.measure import commands, epochs, growth
from benchmarks.measure.process import run
from benchmarks.measure.table import table
from benchmarks.targets import OURS, TUTORIALS

PICTURE = RESULTS.with_suffix(".svg")

WIDTH = 120
"""Of the output, where it is not a terminal."""

WHAT_IS_TIMED = {
    "seconds": "one epoch with all that belongs to it: validation on the 10,000 test digits, progress bar in a "
    "terminal, and on Lightning logger and checkpoint; a bare loop validates too; the floor does not",
    "training_seconds": "the same without the validation",
    "cpu_seconds": "CPU time of the epoch over all threads, with validation",
    "whole_seconds": "the whole process, from the shell to its end",
    "ratio": "median over the rounds of the ratio within a round",
    "warm-up": "the first epoch of each process is not counted, nor is JAX's compiling",
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--growth", action="store_true", help="seconds and memory against size, as docs/speed.svg")
    parser.add_argument("--repetitions", type=int, help="rounds; every script runs once in each (5; with --growth 1)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="threads of every framework (1)")
    parser.add_argument("--epochs", type=int, help="epochs of a process; the first is a warm-up (2; with --growth 3)")
    parser.add_argument("--whole-epochs", type=int, default=10, help="epochs of compare run and of the tutorials (10)")
    parser.add_argument("--only", choices=("epochs", "commands"), help="leave the other half out")
    arguments = parser.parse_args()
    repetitions, num_epochs = (1, 3) if arguments.growth else (5, 2)
    arguments.repetitions = repetitions if arguments.repetitions is None else arguments.repetitions
    arguments.epochs = num_epochs if arguments.epochs is None else arguments.epochs
    if arguments.repetitions < 1 or min(arguments.epochs, arguments.whole_epochs) < 2 or min(arguments.threads) < 1:  # noqa: PLR2004 - and a warm-up
        parser.error("--repetitions and --threads must be 1 or more, --epochs and --whole-epochs 2 or more")
    arguments.command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
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
                for one in epochs.one_round(threads, device, arguments.epochs, arguments.whole_epochs):
                    runs.append(one | {"round": number})
                    console.print(f"  {one['script']}, {device}, {one['threads']} threads: {_seconds(one)}")
        if arguments.only != "epochs":
            rounds.append(commands.one_round(arguments.whole_epochs))
            console.print("  " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in rounds[-1].items()))
    measures = [row for device, threads in devices.items() for n in threads for row in epochs.ratios(runs, n, device)]
    return {
        "command": arguments.command,
        "machine": here,
        "repetitions": arguments.repetitions,
        "what_is_timed": WHAT_IS_TIMED,
        "same_history": _same_history() if runs else None,
        "tutorials_untold": _untold(arguments.epochs) if runs else [],
        "measures": (measures if runs else []) + (commands.rows(rounds, _tutorials(runs)) if rounds else []),
        "not_measured": [] if here["gpu"] else ["GPU: none found"],
        "profiles": {side: _profile(side) for side in OURS} if runs else {},
        "runs": runs,
        "commands": rounds,
    }


def _seconds(one: epochs.Run) -> str:
    return f"not measured: {one['not_measured']}" if "not_measured" in one else f"{one['seconds']:.2f} s"


def _tutorials(runs: list[epochs.Run]) -> list[float]:
    """Seconds of both tutorials, one after the other, in each round, with the first of the numbers of threads."""
    whole = [
        [one["whole_seconds"] for one in runs if (one["script"], one["device"]) == (name, "cpu")] for name in TUTORIALS
    ]
    return [sum(both) for both in zip(*whole, strict=True)]


def _untold(num_epochs: int) -> list[epochs.Run]:
    """The tutorials with the threads that they take without being told."""
    return [epochs.run_script(name, threads=None, device="cpu", epochs=num_epochs) for name in TUTORIALS]


def _same_history() -> dict[str, Any]:
    """Whether the project's Keras and plain `fit` have one history; both are in the results."""
    return run("-m", "benchmarks.scripts.same_history", threads=1).report()


def _profile(side: str) -> dict[str, float]:
    """Where an epoch's time goes, in seconds."""
    return run("-m", f"benchmarks.scripts.profile_{side.lower()}", threads=1).report()


def main() -> None:
    """Measures, prints, saves, draws, and writes the document."""
    arguments = parse()
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if arguments.growth:
        growth.main(arguments, console)
    else:
        results = measure(arguments, console)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        show(results, console)
        if results["runs"]:
            draw_epochs(results, PICTURE)
        console.print(f"Results: {RESULTS}", soft_wrap=True)
    speed_document.write()
    console.print(f"Page: {speed_document.DOCUMENT}", soft_wrap=True)


def show(results: dict[str, Any], console: Console) -> None:
    """Prints the table and what belongs to it."""
    console.print(table(results))
    console.print(f"n = {results['repetitions']}; {machine.in_a_line(results['machine'])}", soft_wrap=True)
    console.print(speed_document.verdict(results))
    for line in results["not_measured"]:
        console.print(f"not measured: {line}")


if __name__ == "__main__":
    main()
