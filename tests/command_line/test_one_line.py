"""What a parser complains of, in one line: the option, the value, what is allowed."""

import pytest

from command_line.one_line import OneLineErrors, in_one_line

UNION = """Parser key "{option}":
  Does not validate against any of the Union subtypes
  Subtypes: [{kinds}]
  Errors:
{errors}
  Given value type: <class 'str'>
  Given value: {value}"""


def union(option: str, value: str, *kinds: str) -> str:
    """As jsonargparse 4.53 says it."""
    errors = "\n".join(f"    - Expected a {kind}" for kind in kinds)
    return UNION.format(option=option, kinds=", ".join(kinds), errors=errors, value=value)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Parser key \"recipe.dtype\":\n  Expected a typing.Literal['float32', 'float64']. Got value: float16",
            "--recipe.dtype must be one of float32, float64, not 'float16'",
        ),
        (
            "Parser key \"recipe.epochs\":\n  Expected a <class 'int'>. Got value: 1.5",
            "--recipe.epochs must be a whole number, not '1.5'",
        ),
        (
            union("x.epsilon", "big", "<class 'float'>", "<class 'NoneType'>"),
            "--x.epsilon must be a number or null, not 'big'",
        ),
        (
            union("adam", "both", "typing.Literal['shared', 'framework']", "<class 'NoneType'>"),
            "--adam must be one of shared, framework or null, not 'both'",
        ),
        (
            union("precision", "13", "typing.Literal[64, 32]", "typing.Literal['64', 'bf16']", "<class 'NoneType'>"),
            "--precision must be one of 64, 32, bf16 or null, not '13'",
        ),
        (
            union("optimizer", "SGDX", "dot import path string: SGDX", "<class 'NoneType'>").replace(
                ":\n", ":\n\n  - Expected a path but SGDX either not accessible or invalid\n  - ", 1
            ),
            "--optimizer must be the name of a class or null, not 'SGDX'",
        ),
        (
            union("variants", "3", "<class 'collections.abc.Sequence'>", "<class 'NoneType'>"),
            "--variants must be a list or null, not '3'",
        ),
        (
            "Parser key \"config\": File does not exist: '/tmp/missing.yaml'",
            "--config: File does not exist: '/tmp/missing.yaml'",
        ),
        (
            'Parser key "recipe":\nUnable to load config \'3\'\n  - Parser key "recipe": Unable to load config "3"',
            "--recipe: Unable to load config '3'",
        ),
        ("unrecognized arguments: --recipe.unknown 1", "unrecognized arguments: --recipe.unknown 1"),
        ("argument --out: expected one argument", "--out: expected one argument"),
        (
            "Problems parsing config: a sequence\n  in line 1\nended.",
            "Problems parsing config: a sequence in line 1 ended",
        ),
    ],
    ids=lambda text: text[:25],
)
def test_message_is_one_line(message: str, line: str) -> None:
    assert in_one_line(message) == line


def test_nothing_is_printed_before_the_line_and_help_is_one_word_away(capsys: pytest.CaptureFixture[str]) -> None:
    parser = OneLineErrors(prog="a program")
    parser.add_argument("--device", choices=("cpu", "gpu"))
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--device", "tpu"])
    assert ended.value.code == 2
    expected = "error: --device: invalid choice: 'tpu' (choose from 'cpu', 'gpu'); see a program --help\n"
    assert capsys.readouterr() == ("", expected)
