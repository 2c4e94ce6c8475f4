import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compare import BadInputError, Explanation, explain
from compare.explanation.findings import Finding, Place, Severity, ordered
from compare.explanation.running.program import framework_of, program
from compare.explanation.words import counted, off_by
from compare.report.explanation.terminal import explanation_text
from tests.conftest import ROOT
from tests.fork_server import PYTHON

TORCH = """import torch
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.{activation}(), torch.nn.Linear(4, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
generator = torch.Generator().manual_seed(0)
for _ in range(3):
    x, y = torch.randn(8, 3, generator=generator), torch.arange(8) % 2
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
"""


def write(directory: Path, name: str, source: str) -> Path:
    path = directory / name
    path.write_text(source)
    return path


def pair(directory: Path, first: str, second: str) -> tuple[Path, Path]:
    return write(directory, "reference.py", first), write(directory, "port.py", second)


def test_one_program_named_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.py", "import torch")
    (tmp_path / "link.py").symlink_to(path)
    for other in (path, tmp_path / "link.py", tmp_path / ".." / tmp_path.name / "a.py"):
        with pytest.raises(BadInputError, match="named twice"):
            explain(path, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.py", "there is no file"),
        ("text.txt", "neither a .py file nor a notebook"),
        ("plain.py", "imports neither"),
        ("torch.py:2x", "name of a model"),
    ],
)
def test_a_program_that_cannot_be_is_refused_in_a_line(tmp_path: Path, given: str, message: str) -> None:
    write(tmp_path, "text.txt", "")
    write(tmp_path, "plain.py", "import json")
    write(tmp_path, "torch.py", "import torch")
    with pytest.raises(BadInputError, match=message) as caught:
        program(str(tmp_path / given))
    assert "\n" not in str(caught.value)


def test_a_model_and_a_script_cannot_be_compared(tmp_path: Path) -> None:
    first, second = pair(tmp_path, "import torch", "import torch")
    with pytest.raises(BadInputError, match=r"FILE\.py:NAME"):
        explain(f"{first}:model", second)


def test_the_framework_is_found_through_files_beside_the_script(tmp_path: Path) -> None:
    write(tmp_path, "model.py", "from keras import layers")
    assert framework_of(write(tmp_path, "script.py", "from model import build")) == "keras"


def test_a_program_has_its_own_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, "port.py", "import torch")
    found = program(f"{path} --lr 0.1")
    assert (found.script, found.arguments) == (path, ("--lr", "0.1"))


def test_findings_are_ordered_by_severity_then_by_effect() -> None:
    small, large = Finding("data", "small", effect=0.1), Finding("loss", "large", effect=2.0)
    minor = Finding("weights", "minor", effect=9.0, severity="minor")
    assert ordered([minor, small, large, small]) == (large, small, minor)


def test_what_is_said_of_several_layers_is_said_once() -> None:
    def epsilon(layer: str, line: int, effect: float) -> Finding:
        title = f"epsilon of {layer} (batch normalization): 1e-05; the reference has 0.001"
        mend = f"pad before {layer}, and so on"
        return Finding("forward", title, place=Place("port.py", line), effect=effect, cause="epsilon", mend=mend)

    other = Finding("forward", "no ReLU after fc1", cause="no ReLU")
    found = ordered([epsilon("bn1", 4, 0.1), other, epsilon("bn2", 5, 0.3)])
    assert [one.title for one in found] == [
        "epsilon of bn1, bn2 (batch normalization): 1e-05; the reference has 0.001",
        "no ReLU after fc1",
    ]
    assert (found[0].effect, str(found[0].place), found[0].effect_text) == (0.3, "port.py:5", "also at port.py:4")
    many = ordered([epsilon(f"bn{number}", 1, 0.1) for number in range(9)])
    assert [one.title.partition(" (")[0] for one in many] == ["epsilon of bn0, bn1, bn2, bn3, bn4, bn5 and 3 more"]
    numbers = ordered([epsilon("layer 1", 4, 0.1), epsilon("layer 3", 5, 0.3)])
    assert [one.title.partition(" (")[0] for one in numbers] == ["epsilon of layers 1, 3"]
    assert numbers[0].mend == "pad before layers 1, 3, and so on"


def explanation(*findings: Finding, unpaired: tuple[str, ...] = ()) -> Explanation:
    return Explanation("a.py", "b.py", "ran both", findings, ("data",), (), unpaired, 1.0)


def test_verdicts_and_exit_codes() -> None:
    inherent = Finding("optimizer", "epsilon", severity="inherent")
    assert (explanation(inherent).verdict, explanation(inherent).exit_code) == ("same", 0)
    assert (explanation(unpaired=("a layer",)).verdict, explanation(unpaired=("a layer",)).exit_code) == (
        "incomplete",
        3,
    )
    assert (explanation(Finding("data", "scale")).verdict, explanation(Finding("data", "scale")).exit_code) == (
        "different",
        1,
    )


def test_the_text_has_the_title_both_values_and_the_mend() -> None:
    shown = explanation_text(explanation(Finding("forward", "no ReLU", "ReLU", "nothing", mend="torch.relu(x)")))
    for words in ("FAULT  1", "no ReLU", "reference: ReLU; port: nothing", "mend: torch.relu(x)", "verdict: different"):
        assert words in shown
    assert json.dumps(explanation(Finding("data", "scale")).to_json())


@pytest.mark.parametrize(
    ("severities", "left"),
    [
        (("fault", "fault", "minor"), "left: 2 faults, 1 minor, of small effect"),
        (("minor",), "left: no fault, 1 minor, of small effect"),
        (("inherent", "fault"), "left: 1 fault, 1 inherent, which nothing mends"),
        (("inherent",), "left: no fault, 1 inherent, which nothing mends"),
    ],
)
def test_the_last_line_says_what_is_left(severities: tuple[Severity, ...], left: str) -> None:
    found = [Finding("data", f"number {i}", severity=severity) for i, severity in enumerate(severities)]
    assert explanation_text(explanation(*found)).splitlines()[-1] == left
    assert explanation_text(explanation()).splitlines()[-1].startswith("verdict: the same")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (1.0, "off by 100% of the largest value"), (0.8216, "off by 82% of the largest value"),
        (0.0044, "off by 0.44% of the largest value"), (1.644, "off by 164% of the largest value"),
        (255.0, "off by 255 times the largest value"), (7.6e-8, "off by 7.6e-08 of the largest value"),
        (math.inf, "finite on one side only"),
    ],
)  # fmt: skip
def test_how_far_something_is_off_is_a_percentage(part: float, words: str) -> None:
    assert off_by(part, "the largest value") == words


def test_one_thing_is_no_plural() -> None:
    assert [counted(number, "layer") for number in (0, 1, 2)] == ["0 layers", "1 layer", "2 layers"]


def test_a_missing_activation_is_found_and_the_same_pair_is_the_same(tmp_path: Path) -> None:
    first, second = pair(tmp_path, TORCH.format(activation="ReLU"), TORCH.format(activation="Identity"))
    before = sorted(path.name for path in tmp_path.iterdir())
    found = explain(first, second, steps=3)
    assert [finding.title for finding in found.differences] == ["no ReLU after layer 0"]
    assert found.exit_code == 1
    second.write_text(TORCH.format(activation="ReLU") + "# the same\n")
    assert explain(first, second, steps=3).verdict == "same"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("source", "message", "code"),
    [
        ("import torch\n", "takes no optimizer step", 2),
        ("import torch\nopen('missing.csv')\n", "missing.csv", 2),
        ("import torch\ninput()\n", "standard input", 2),
        ("import torch\nraise ValueError('of its own')\n", "of its own", 4),
    ],
)
def test_a_script_that_cannot_be_watched_is_told_in_a_line(
    tmp_path: Path, source: str, message: str, code: int
) -> None:
    first, second = pair(tmp_path, TORCH.format(activation="ReLU"), source)
    command = [sys.executable, "-m", "compare", "explain", str(first), str(second), "--steps", "2"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == code, process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def started_by(directory: Path) -> list[int]:
    """The processes whose command line names a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if str(directory).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_command_that_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    hanging = "import torch, time\ntime.sleep(1000)\n"
    first, second = pair(tmp_path, hanging, hanging + "\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [PYTHON, "-m", "compare", "explain", str(first), str(second)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, stderr=subprocess.DEVNULL
    )
    until(lambda: len(started_by(temporary)) >= 3)
    process.send_signal(number)
    process.wait(20)
    until(lambda: not started_by(temporary) and not list(temporary.iterdir()))


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_script_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    first, second = pair(tmp_path, "import torch, time\ntime.sleep(1000)\n", TORCH.format(activation="ReLU"))
    with pytest.raises(BadInputError, match=r"within 3 seconds \(--timeout\)"):
        explain(first, second, timeout=3)


def test_two_optimizers_in_turn_are_refused_in_a_line(tmp_path: Path) -> None:
    gan = """import torch
one, other = torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)
first, second = (torch.optim.SGD(net.parameters(), lr={rate}) for net in (one, other))
for _ in range(9):
    made = one(torch.ones(4, 3))
    for optimizer, fed, wanted in ((second, made.detach(), 0), (first, made, 1)):
        optimizer.zero_grad()
        (other(fed) - wanted).square().sum().backward()
        optimizer.step()
"""
    with pytest.raises(BadInputError, match=r"reference\.py trains by 2 optimizers in turn") as caught:
        explain(*pair(tmp_path, gan.format(rate=0.1), gan.format(rate=0.2)))
    assert "\n" not in str(caught.value)
