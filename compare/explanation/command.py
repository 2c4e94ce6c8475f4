"""The options of the command `mnist-compare explain REFERENCE PORT`."""

from pathlib import Path

from command_line.table import Parser

DESCRIPTION = (
    "Says why a port differs from its reference: runs two programs as they are up to their first optimizer steps and "
    "compares data, weights, layers, loss, gradients, optimizer and loop. Exit code 0: the same, 1: not, 3: not all "
    "could be compared, 2: bad input, 4: a program fails by itself."
)


def add_options(options: Parser) -> None:
    """Adds its options to a parser."""
    form = 'a .py file, a notebook, or FILE.py:NAME of a model; with its own arguments in quotes: "port.py --lr 0.1"'
    options.add_argument("reference", type=str, metavar="REFERENCE", help=f"The reference: {form}.")
    options.add_argument("port", type=str, metavar="PORT", help="The port, in the same forms.")
    options.add_argument("--steps", type=int, default=10, metavar="K", help="How many optimizer steps to compare.")
    options.add_argument("--keep", type=Path | None, default=None, metavar="DIR", help="Keep what was recorded there.")
    options.add_argument("--timeout", type=float, default=300.0, metavar="S", help="Seconds that a program may take.")
    options.add_argument(
        "--inputs", type=Path | None, default=None, metavar="FILE", help="A .npy or .npz file for models only used."
    )
    options.add_argument("--batch", type=int | None, default=None, metavar="N", help="Use N samples of each batch.")
    options.add_argument("--json", action="store_true", help="Print the findings as JSON instead of text.")
    options.add_argument(
        "--out", type=Path | None, default=None, metavar="DIR", help="Write results.json, report.html there."
    )
