"""`make gpu-check`: everything that needs a GPU, in at most ten minutes, as a table."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from compare.run import gpus
from tests.gpu.checks import CHECKS, Check, Result, missing, run

SECONDS = 600
"""All checks together; what has not begun half a minute before is not run."""


def run_all(
    checks: Sequence[Check], directory: Path, *, device: str, num_gpus: int, seconds: float, at_once: int
) -> Iterator[Result]:
    """Runs checks side by side and yields their results in order; none goes on when the time is over."""
    end = time.monotonic() + seconds

    def result(number: int, check: Check) -> Result:
        left = end - time.monotonic()
        reason = missing(check, num_gpus, device=device) or (
            f"no time left of {seconds:,.0f} s" if left < seconds / 20 else None
        )
        if reason:
            return Result(check.name, "not run", said=reason)
        limit = left if device == "cpu" else min(check.seconds, left)  # which is a GPU's machine's
        return run(replace(check, seconds=limit), directory / str(number), device=device)

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(result, range(len(checks)), checks)


def line(result: Result) -> str:
    """A row of the table."""
    seconds = f"{result.seconds:.0f} s" if result.seconds else ""
    return f"{result.outcome:<8} {result.name:<62} {seconds:>6}  {result.said[:160]}".rstrip()


def main() -> int:
    """Prints the table; the exit code is 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, without what needs CUDA")
    parser.add_argument("--only", default="", help="checks whose names contain this")
    parser.add_argument("--out", type=Path, help="keep the directories of the checks there")
    options = parser.parse_args()
    found = gpus.visible()
    if not (options.rehearse or gpus.are_there()):
        print("error: there is no GPU here; --rehearse runs on the CPU what needs none", file=sys.stderr)
        return 2
    out = options.out or Path(tempfile.mkdtemp(prefix="gpu-check-"))
    device = "cpu" if options.rehearse else "gpu"
    checks = [check for check in CHECKS if options.only in check.name and not (options.rehearse and check.cuda)]
    print(
        f"{len(checks)} checks on {', '.join(gpu.name for gpu in found) or f'the {device}'}; what they leave: {out}",
        flush=True,
    )
    at_once = max(1, min(4, (os.cpu_count() or 1) // 2))
    failed = 0
    for result in run_all(checks, out, device=device, num_gpus=max(1, len(found)), seconds=SECONDS, at_once=at_once):
        failed += result.outcome == "FAILED"
        print(line(result), flush=True)
    print(f"{failed} failed of {len(checks)}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
