"""Ready configurations of the LightningCLI in `configs/`, by name: `--config ddp`; Keras has no such command line."""

from collections.abc import Sequence
from pathlib import Path

READY = {path.stem: path for path in sorted(Path(__file__).with_name("configs").glob("*.yaml"))}


def with_ready_configurations(arguments: Sequence[str]) -> list[str]:
    """The same arguments, with the path of a ready configuration for its name; a file of that name comes first."""
    resolved: list[str] = []
    for position, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        name = value if equals and option == "--config" else word
        named = name is value if equals else position > 0 and arguments[position - 1] == "--config"
        if named and name in READY and not Path(name).exists():
            word = f"{option}={READY[name]}" if equals else str(READY[name])  # noqa: PLW2901
        resolved.append(word)
    return resolved
