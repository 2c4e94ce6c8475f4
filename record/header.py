"""What the record of a training and that of a trace both begin with: what ran, where, and under which recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recipe import Recipe
from record.files import FORMAT_VERSION, Fields, read_json, read_recipe, write_json


@dataclass(frozen=True, kw_only=True)
class Header:
    """The part that both records share, in `recipe.json` and at the top of `record.json`.

    `framework` and `backend` are what computed, `versions` goes by package, `device` is cpu or gpu, `threads` those of
    one operation on the CPU. `settings` were read back from the live objects.
    """

    recipe: Recipe
    framework: str
    versions: Mapping[str, str]
    backend: str
    device: str
    threads: int
    settings: Mapping[str, Any]


HEADER_KEYS = tuple(field.name for field in fields(Header) if field.name != "recipe")
"""Its keys in `record.json`; the recipe is a file of its own."""


def write_header(directory: Path, header: Header, kind: str, content: Mapping[str, Any]) -> None:
    """Writes `recipe.json` and `record.json`: the header, then the `content` that only this kind of record has."""
    (directory / "recipe.json").write_text(header.recipe.to_json())
    top = {"format_version": FORMAT_VERSION, "kind": kind, **{key: getattr(header, key) for key in HEADER_KEYS}}
    write_json(directory / "record.json", top | dict(content))


def read_header(directory: Path, kind: str) -> tuple[dict[str, Any], Fields]:
    """Reads the fields of a `Header`, by name, and `record.json`, from which the reader takes what else it needs.

    Raises:
        RecordError: A file is missing or damaged, of another version or kind, or lacks or misstates a key.
    """
    recipe = read_recipe(directory)
    record = Fields(directory / "record.json", read_json(directory, kind))
    header = {
        "recipe": recipe,
        "framework": record.text("framework"),
        "versions": record.texts("versions"),
        "backend": record.text("backend"),
        "device": record.device(),
        "threads": record.count("threads"),
        "settings": record.mapping("settings"),
    }
    return header, record
