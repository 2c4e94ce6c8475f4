"""A parser's complaint in one line: the option, the value, what is allowed, and where all options are listed."""

import argparse
import ast
import re
from typing import Any, NoReturn

from recipe.errors import BAD_INPUT, harmless

_KEY = re.compile(r'^Parser key "(?P<option>[^"]+)":\s*')
_EXPECTED = re.compile(r"Expected an? (?!path but)(?P<kind>.+?)(?:\. Got value: .*|: .*)?$", re.MULTILINE)
_VALUE = re.compile(r"(?:Got|Given) value: (?P<value>.*)", re.DOTALL)

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    **dict.fromkeys(("tuple", "list", "collections.abc.Sequence", "collections.abc.Iterable"), "a list"),
    **dict.fromkeys(("dict", "collections.abc.Mapping"), "a mapping"),
    "dot import path string": "the name of a class",
}
"""What jsonargparse calls a type, and what a user does."""


class OneLineErrors(argparse.ArgumentParser):
    """An argument parser that ends with one line on standard error, no usage before it, and exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Argparse and jsonargparse call this; the latter says with `ex` whose options were wrong."""
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        self.exit(BAD_INPUT, f"error: {harmless(in_one_line(message))}; see {program} --help\n")


def in_one_line(message: str) -> str:
    """What argparse or jsonargparse says of a wrong option, which may be many lines and names Python's types."""
    key = _KEY.match(message)
    if key is None:
        message = message.removeprefix("argument subcommand: ").removeprefix("argument ")
        return " ".join(message.removesuffix(".").split())
    option, rest = f"--{key['option']}", message[key.end() :]
    kinds, value = _EXPECTED.findall(rest), _VALUE.search(rest)
    if not kinds or value is None:
        return " ".join(f"{option}: {rest.partition(f'{chr(10)}  - ')[0]}".split())
    return f"{option} must be {_alternatives(kinds)}, not {' '.join(value['value'].split())!r}"


def _alternatives(kinds: list[str]) -> str:
    choices: list[str] = []
    others: list[str] = []
    for kind in kinds:
        if literal := re.search(r"Literal(\[.*\])", kind):
            choices += map(str, ast.literal_eval(literal[1]))
        else:
            name = re.sub(r"^<class '(.*)'>$", r"\1", kind)
            others.append(_KINDS.get(name, name))
    listed = [f"one of {', '.join(dict.fromkeys(choices))}"] if len(choices) > 1 else choices
    return " or ".join([*listed, *dict.fromkeys(others)])
