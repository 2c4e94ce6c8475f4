"""Runs an example as it is: its text is what beginners write, and is what is timed."""

import os
import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_example(name: str) -> None:
    """Runs `examples/NAME.py`, on the digits of this repository: its try to download them fails at once."""
    nowhere = "http://127.0.0.1:9"
    os.environ |= {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": ""}
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
