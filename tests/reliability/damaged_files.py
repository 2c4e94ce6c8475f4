"""Files that are damaged: named as such, or read as what they were; never believed, never a traceback."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import compare.__main__ as program
from lightning_impl.checkpoints import load_checkpoint
from lightning_impl.module import DigitClassifier
from pictures.prepare import read_picture
from recipe import Recipe
from recipe.datasets import with_images
from recipe.errors import ParityError, PictureError, RecordError
from record.files import CHECKSUMS
from record.training import read_record
from tests.conftest import TINY, assert_one_line_of_error, run_python, write_canned
from tests.own_data import write_archive
from tests.reliability.experiment import damaged, experiment, first_words, flipped, miswritten

DRIVER = Path(__file__).parents[1] / "compare" / "driver.py"
QUICK = ("--recipe.hidden_sizes", "[2]", "--recipe.batch_size", "30000", "--recipe.epochs", "2", "--controls", "2")


def read_each(
    content: bytes, path: Path, read: Callable[[], Any], n: int, *, damage: Any, same: Any, refused: type[Exception]
) -> list[str]:
    """Damages a file n times; it must be refused, or be read as the same as before."""
    failures, chance = [], random.Random(n)
    for number in range(n):
        path.write_bytes(damage(content, chance))
        try:
            if not same(read()):
                failures.append(f"{number}: other values are read")
        except refused as error:
            if "\n" in str(error):
                failures.append(f"{number}: more than a line: {first_words(error)}")
        except Exception as error:
            failures.append(f"{number}: {first_words(error)}")
    return failures


def write_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint as Lightning leaves it, of a small network."""
    module = DigitClassifier(TINY)
    optimizer = torch.optim.Adam(module.parameters())
    module.model(torch.rand(4, 784)).sum().backward()
    optimizer.step()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    states = [optimizer.state_dict()]
    content = {"epoch": 1, "global_step": 2, "recipe": TINY.to_json(), "state_dict": state, "optimizer_states": states}
    torch.save(content, path)
    return state


def _checkpoints(directory: Path, n: int, damage: Any) -> list[str]:
    path = directory / "last.ckpt"
    state = write_checkpoint(path)

    def same(read: dict[str, Any]) -> bool:
        return all(torch.equal(read["state_dict"][name], tensor) for name, tensor in state.items())

    return read_each(
        path.read_bytes(), path, lambda: load_checkpoint(path), n, damage=damage, same=same, refused=RecordError
    )


@experiment(
    "Damaged files",
    "a bit of a `.ckpt` flipped",
    "it is refused, or what is read is what was written",
    few=60,
    many=3000,
)
def checkpoint_bits(directory: Path, n: int) -> list[str]:
    return _checkpoints(directory, n, flipped)


@experiment(
    "Damaged files",
    "a `.ckpt` cut, zeroed, doubled or overwritten in part",
    "it is refused in a line",
    few=30,
    many=2000,
)
def checkpoint_damage(directory: Path, n: int) -> list[str]:
    return _checkpoints(directory, n, damaged)


KERAS = """
import json, random, sys
from pathlib import Path
from keras_impl import backend
from recipe.errors import RecordError
from tests.conftest import TINY
backend.select("tensorflow", "cpu", TINY)
import numpy as np
from keras_impl.checkpoints import load_checkpoint, load_weights, save_checkpoint
from keras_impl.training import compile_model
from keras_impl.weights import get_weights
from tests.reliability.experiment import damaged, first_words, flipped
name, n = sys.argv[1], int(sys.argv[2])
path = Path(name)
written, model = compile_model(TINY), compile_model(TINY)
if name.endswith(".keras"):
    save_checkpoint(path, written)
else:
    written.save_weights(path)
read = load_checkpoint if name.endswith(".keras") else load_weights
weights, content, chance, failures = get_weights(written), path.read_bytes(), random.Random(n), []
for number in range(n):
    damage = flipped if number % 2 else damaged
    path.write_bytes(damage(content, chance))
    try:
        read(path, model)
        same = all(np.array_equal(weights[key], array) for key, array in get_weights(model).items())
        if not same and name.endswith(".keras"):
            failures.append(f"{number}: other values are read")
    except RecordError as error:
        if "\\n" in str(error):
            failures.append(f"{number}: more than a line: {first_words(error)}")
    except Exception as error:
        failures.append(f"{number}: {first_words(error)}")
    model = compile_model(TINY) if number % 100 == 99 else model
Path("failures.json").write_text(json.dumps(failures))
"""


def _in_keras(directory: Path, name: str, n: int) -> list[str]:
    process = run_python("-c", KERAS, name, n, cwd=directory, timeout=3000)
    if process.returncode != 0:
        return [f"the process ended with {process.returncode}: {process.stderr.strip()[-300:]}"]
    failures: list[str] = json.loads((directory / "failures.json").read_text())
    return failures


@experiment(
    "Damaged files",
    "a `.keras` with a bit flipped, or damaged in part",
    "it is refused in a line, or what is read is what was written",
    few=20,
    many=1000,
)
def keras_checkpoint(directory: Path, n: int) -> list[str]:
    return _in_keras(directory, "last.keras", n)


@experiment(
    "Damaged files",
    "a `.weights.h5` with a bit flipped, or damaged in part",
    "a line or a result, never a traceback; the format has no checksum, so that a flipped weight is read",
    few=20,
    many=1000,
)
def keras_weights(directory: Path, n: int) -> list[str]:
    return _in_keras(directory, "model.weights.h5", n)


def _records(directory: Path, n: int, *, checksums: bool) -> list[str]:
    failures, chance = [], random.Random(n)
    write_canned(directory / "whole")
    if not checksums:
        (directory / "whole" / CHECKSUMS).unlink()
    whole = read_record(directory / "whole")
    names = sorted(path.name for path in (directory / "whole").iterdir())
    for number in range(n):
        record = Path(shutil.copytree(directory / "whole", directory / "record"))
        path = record / chance.choice(names)
        path.write_bytes(damaged(path.read_bytes(), chance))
        try:
            read = read_record(record)
            weights = all(np.array_equal(whole.weights[name], array) for name, array in read.weights.items())
            if checksums and not (weights and read.history == whole.history):
                failures.append(f"{number}: {path.name}: other values are read")
        except RecordError as error:
            if str(record) not in str(error):
                failures.append(f"{number}: {path.name} is not named: {first_words(error)}")
        except Exception as error:
            failures.append(f"{number}: {path.name}: {first_words(error)}")
        shutil.rmtree(record)
    return failures


@experiment(
    "Damaged files",
    "a file of a stored record damaged",
    "it is named as damaged, or what is read is what was written",
    few=60,
    many=4000,
)
def stored_record(directory: Path, n: int) -> list[str]:
    return _records(directory, n, checksums=True)


@experiment(
    "Damaged files",
    "the same of a port's record, which has no checksums",
    "a line that names the file, or a record that contradicts neither itself nor its recipe",
    few=60,
    many=4000,
)
def record_of_a_port(directory: Path, n: int) -> list[str]:
    return _records(directory, n, checksums=False)


def make_results(directory: Path) -> str:
    """A comparison of stand-ins; returns what its results.json holds."""
    process = run_python(DRIVER, "good", "run", *QUICK, "--out", "out", cwd=directory, timeout=600)
    assert process.returncode in (0, 1, 3), process.stderr
    return (directory / "out" / "results.json").read_text()


def shown(directory: Path) -> str | None:
    """What is wrong with how `report` ends, which is with a result or in a line; None if nothing."""
    import contextlib
    import io

    out, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            exit_code = program.main(["report", str(directory)])
    except Exception as error:
        return first_words(error)
    if exit_code == 2:
        lines = errors.getvalue().splitlines()
        wrong = len(lines) != 1 or not lines[0].startswith("error: ") or out.getvalue()
        return f"not a line alone: {errors.getvalue()[-200:]}{out.getvalue()[-200:]}" if wrong else None
    return None if exit_code in (0, 1, 3, 4) and "\x1b" not in out.getvalue() else f"exit code {exit_code}"


@experiment(
    "Damaged files",
    "`results.json` damaged, or an entry of it missing or of another kind, then `compare report`",
    "the findings are shown, or a line says what is wrong with which file",
    few=12,
    many=1000,
)
def results_file(directory: Path, n: int) -> list[str]:
    content, chance, failures = make_results(directory), random.Random(n), []
    path = directory / "out" / "results.json"
    for number in range(n):
        if number % 3:
            path.write_text(json.dumps(miswritten(json.loads(content), chance)))
        else:
            path.write_bytes(damaged(content.encode(), chance))
        if (wrong := shown(path.parent)) is not None:
            failures.append(f"{number}: {wrong}")
    return failures


@experiment(
    "Damaged files",
    "an `.npz` of one's own images damaged",
    "a line, or images of which the recipe's summary tells what they are",
    few=60,
    many=3000,
)
def data_set(directory: Path, n: int) -> list[str]:
    write_archive(directory)
    path = directory / "own.npz"
    whole = with_images(Recipe(dataset=str(path), batch_size=2)).images.sha256

    def same(recipe: Recipe) -> bool:
        # numpy.load holds members against their checksums: other images are those of a whole archive.
        return recipe.images.sha256 == whole

    return read_each(
        path.read_bytes(),
        path,
        lambda: with_images(Recipe(dataset=str(path), batch_size=2)),
        n,
        damage=damaged,
        same=same,
        refused=ParityError,
    )


@experiment("Damaged files", "a picture damaged", "a line, or an image", few=60, many=3000)
def picture(directory: Path, n: int) -> list[str]:
    from PIL import Image

    ink = np.full((64, 64), 255, np.uint8)
    ink[16:48, 28:36] = 0
    failures = []
    endings = ("png", "jpg", "gif", "bmp", "webp", "tiff")
    for ending in endings:
        path = directory / f"one.{ending}"
        Image.fromarray(ink).save(path)
        content = path.read_bytes()
        failures += read_each(
            content,
            path,
            lambda path=path: read_picture(path),
            -(-n // len(endings)),
            damage=damaged,
            same=lambda image: image.shape == (28, 28),
            refused=PictureError,
        )
    return failures


@experiment(
    "Damaged files",
    "a bit of a weight in a `.ckpt` flipped, then `test`, `predict`, `fit` and `convert`",
    "each ends with a line before anything is loaded",
    few=1,
    many=10,
)
def checkpoint_at_every_door(directory: Path, n: int) -> list[str]:
    failures = []
    for number in range(n):
        path = directory / f"{number}.ckpt"
        state = write_checkpoint(path)
        content, weight = path.read_bytes(), state["model.hidden_1.weight"].numpy().tobytes()
        place = content.index(weight) + random.Random(number).randrange(len(weight))
        path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        recipe = ("--recipe.hidden_sizes", "[2]", "--recipe.batch_size", "30000", "--recipe.epochs", "2")
        common = ("--trainer.accelerator", "cpu", *recipe, "--ckpt_path", path.name)
        doors = [
            *((command, *common) for command in ("fit", "test", "predict")),
            ("convert", path.name, "x.safetensors"),
        ]
        for door in doors:
            process = run_python("-m", "lightning_impl", *door, cwd=directory)
            try:
                assert_one_line_of_error(process, path.name, "does not fit its checksum")
            except AssertionError:
                failures.append(f"{door[0]}: exit code {process.returncode}: {process.stderr.strip()[-300:]}")
    return failures
