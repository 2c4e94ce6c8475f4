"""What is no file, unpacks to gigabytes, or answers and is no scheduler; and ports that do what no port should."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compare.results_file import read_results
from compare.run.implementations import Implementation
from compare.run.jobs import MAX_LOG, Job, run_all
from lightning_impl.checkpoints import load_checkpoint
from pictures.classify import chosen_weights
from pictures.prepare import read_picture
from recipe import Recipe
from recipe.datasets import with_images
from recipe.errors import LONGEST_LINE, BadArgumentError, ParityError
from record.training import read_record
from tests.conftest import TINY, run_python, write_canned
from tests.fork_server import PYTHON
from tests.reliability.damaged_files import DRIVER, QUICK, write_checkpoint
from tests.reliability.experiment import ended_in_one_line, experiment, first_words, within

# --- files that are none ---------------------------------------------------------------------------

SECONDS_FOR_A_FILE = 5.0
"""Far more than a look at a file takes, far less than reading what has no end."""


def _record(path: Path) -> Any:
    """Reads a record whose largest file is what lies at the path."""
    record = path.with_name(f"record-{path.name}")
    write_canned(record)
    (record / "SHA256SUMS").unlink()
    for name in ("weights.safetensors", "record.json"):
        (record / name).unlink()
        (record / name).symlink_to(path)
    return read_record(record)


def _results(path: Path) -> Any:
    """Reads results.json that is what lies at the path."""
    directory = path.with_name(f"results-{path.name}")
    directory.mkdir()
    (directory / "results.json").symlink_to(path)
    return read_results(directory)


def _weights(path: Path) -> Any:
    """Takes the path for weights, as `classify --weights` does."""
    directory = path.with_name(f"weights-{path.name}")
    directory.mkdir()
    (directory / "recipe.json").write_text(TINY.to_json())
    (directory / "weights.safetensors").symlink_to(path)
    return chosen_weights(directory / "weights.safetensors")


DOORS: dict[str, Callable[[Path], Any]] = {
    "data set": lambda path: with_images(Recipe(dataset=str(path), batch_size=2)),
    "checkpoint": load_checkpoint,
    "picture": read_picture,
    "weights": _weights,
    "record": _record,
    "results": _results,
}
KINDS = ("pipe", "/dev/zero", "directory")


def _no_file(directory: Path, kind: str) -> Path:
    path = directory / "thing.npz"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(kind)
    return path


@experiment(
    "Hangs",
    "a pipe, /dev/zero or a directory as a data set, checkpoint, picture, weights, record or results",
    f"a line within {SECONDS_FOR_A_FILE:g} seconds",
    few=len(DOORS) * len(KINDS),
    many=len(DOORS) * len(KINDS),
)
def no_file(directory: Path, n: int) -> list[str]:
    del n
    failures = []
    for name, door in DOORS.items():
        for kind in KINDS:
            place = directory / f"{name}-{kind.replace('/', '')}"
            place.mkdir()
            try:
                with within(SECONDS_FOR_A_FILE):
                    door(_no_file(place, kind))
                failures.append(f"{kind} as {name}: was taken")
            except ParityError:
                continue
            except Exception as error:
                failures.append(f"{kind} as {name}: {first_words(error)}")
    return failures


def _bomb(path: Path, inner: str, head: bytes = b"", gigabytes: int = 3) -> Path:
    """A zip archive of a few megabytes whose one member unpacks to so many gigabytes."""
    piece = bytes(2**24)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(inner, "w", force_zip64=True) as member,
    ):
        member.write(head)
        for _ in range(gigabytes * 2**30 // len(piece)):
            member.write(piece)
    return path


@experiment(
    "Hangs",
    "an archive of a few megabytes that unpacks to 3 GB, as a data set and as a checkpoint",
    "it is refused by its stated size, within 5 seconds and in 100 MB",
    few=0,
    many=2,
)
def bombs(directory: Path, n: int) -> list[str]:
    del n
    # A header of version 2 whose length is said to be 2 GB, which would be read whole before it is looked at.
    header = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little")
    archive = _bomb(directory / "data.npz", "x_train.npy", header)
    checkpoint = _bomb(directory / "a.ckpt", "a/data.pkl")
    failures = []
    for name, door in (
        ("data set", lambda: DOORS["data set"](archive)),
        ("checkpoint", lambda: load_checkpoint(checkpoint)),
    ):
        tracemalloc.start()
        try:
            with within(SECONDS_FOR_A_FILE):
                door()
            failures.append(f"{name}: was taken")
        except ParityError as error:
            if "bytes when unpacked" not in str(error):
                failures.append(f"{name}: {error}")
        except Exception as error:
            failures.append(f"{name}: {first_words(error)}")
        if tracemalloc.get_traced_memory()[1] > 1e8:
            failures.append(f"{name}: took {tracemalloc.get_traced_memory()[1] / 1e6:,.0f} MB")
        tracemalloc.stop()
    return failures


# --- ports -----------------------------------------------------------------------------------------

PORT = """
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
mode, recipe, run = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

def leave(seconds=60):
    # In a session of its own: no group that is killed has it, and it holds the output open.
    subprocess.Popen(["sleep", str(seconds)], start_new_session=True)

def record(**changes):
    from recipe import Recipe
    from tests.conftest import write_canned
    write_canned(run, Recipe.from_json(recipe.read_text()), **changes)
"""

MODES = {
    "leaves a process behind that holds its output open, and fails": (
        "leave(); sys.exit('out of ideas')",
        "out of ideas",
    ),
    "writes escape sequences": ("sys.exit('\\x1b[2J\\x1b]0;title\\x07\\x9b31mred')", r"\x1b[2J"),
    "deletes its recipe": ("record(); recipe.unlink()", None),
    "leaves a pipe for its record.json": (
        "run.mkdir(); shutil.copy(recipe, run / 'recipe.json'); os.mkfifo(run / 'record.json')",
        "Is a pipe or a device",
    ),
    "writes a last line of a megabyte": ("sys.exit('y' * 2**20)", "yyy"),
    "leaves a process behind that holds its output open, and ends well": ("leave(); record()", None),
    "leaves a process behind that writes without end": (
        "subprocess.Popen(['yes'], start_new_session=True); sys.exit(3)",
        "exit code 3",
    ),
    "closes its output and ends later": ("os.close(1); os.close(2); time.sleep(1); record()", None),
    "closes its output and hangs": ("os.close(1); os.close(2); time.sleep(1000)", "hung"),
    "writes a line without end": (
        "line = b'x' * 2**20\nfor _ in range(300): os.write(1, line)\nsys.exit(3)",
        "exit code 3",
    ),
    "writes 60 MB of lines": (
        "lines = (b'one long line ' * 6 + b'\\n') * 10_000\nfor _ in 70 * [0]: os.write(1, lines)\nsys.exit('the end')",
        "the end",
    ),
    "writes progress without pause": (
        """line = json.dumps({'progress': {'epoch': 1, 'epochs': 2, 'fraction': 0.5}}) + chr(10)
for _ in range(3000): os.write(1, (line * 100).encode())
record()""",
        None,
    ),
    "writes bytes that are no text": ("os.write(1, bytes(range(256))); record()", None),
    "puts a directory in its recipe's place": ("record(); recipe.unlink(); recipe.mkdir()", None),
    "deletes everything around it": ("shutil.rmtree(run.parent); sys.exit(3)", "exit code 3"),
    "leaves /dev/zero for its recipe.json": (
        "run.mkdir(); (run / 'recipe.json').symlink_to('/dev/zero')",
        "Is a pipe or",
    ),
    "leaves a record of gigabytes": (
        "record()\n(run / 'SHA256SUMS').unlink()\nos.truncate(run / 'weights.safetensors', 2**36)",
        "weights.safetensors",
    ),
    "ignores SIGTERM and says nothing": ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)", "hung"),
}
"""What a port does, and what the outcome of the run then says; None where it has a record."""

SECONDS_FOR_A_PORT = 30.0


@experiment(
    "What a port can do",
    "18 ports that hold the output open, flood it, delete files, say escape sequences or leave pipes",
    f"the run is over within {SECONDS_FOR_A_PORT:g} seconds with its record or a line of at most "
    f"{LONGEST_LINE} characters of the port's, its log has at most {MAX_LOG:,}, and memory grows by less than 100 MB",
    few=5,
    many=len(MODES),
)
def ports(directory: Path, n: int) -> list[str]:
    failures = []
    for number, (mode, (code, words)) in enumerate(list(MODES.items())[:n]):
        place = directory / str(number)
        place.mkdir()
        script = place / "port.py"
        script.write_text(PORT.format(root=str(Path(__file__).parents[2])) + code + "\n")
        job = Job(Implementation("third", (sys.executable, str(script), mode)), TINY, place / "records")
        tracemalloc.start()
        try:
            with within(SECONDS_FOR_A_PORT):
                outcome = run_all([job], notify=lambda message: None, silence=5.0)[0]
            error = outcome.error
        except Exception as raised:
            error = raised
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        failures += [f"{mode}: {wrong}" for wrong in _wrong_with(error, words, memory, job)]
        if mode.startswith("leaves a process") and error is None and not job.directory.exists():
            failures.append(f"{mode}: no record")
    return failures


def _wrong_with(error: Exception | None, words: str | None, memory: int, job: Job) -> Iterator[str]:
    said = str(error)
    if words is None and error is not None:
        yield first_words(error)
    if words is not None and (not isinstance(error, ParityError) or words not in said):
        yield first_words(error) if error else "was believed"
    if len(said) > LONGEST_LINE + 500 or "\x1b" in said or "\n" in said:
        yield f"{len(said):,} characters: {said[:100]!r}"
    if memory > 1e8:
        yield f"took {memory / 1e6:,.0f} MB"
    log = job.directory.with_suffix(".log")
    if log.exists() and log.stat().st_size > MAX_LOG + 100_000:
        yield f"its log has {log.stat().st_size:,} bytes"


SAYS = (
    "[/red] [bold]x[/bold] [link=file:///etc]y[/link] \x1b[2J\x1b]0;t\x07 \u202e <script>alert(1)</script> {{ 7 * 7 }}"
)


@experiment(
    "What a port can do",
    "markup, escape sequences and HTML in a port's versions, backend and framework",
    "the comparison ends, and shows them as text in the terminal and on the page",
    few=1,
    many=1,
)
def report_of_itself(directory: Path, n: int) -> list[str]:
    del n
    script = directory / "port.py"
    body = f"says = {SAYS!r}\nrecord(framework=says, backend=says, versions={{says: says}}, settings={{says: says}})"
    stand_in = DRIVER.with_name("stand_in.py")
    script.write_text(
        f"import subprocess, sys\nif '--trace' in sys.argv:\n"
        f"    sys.exit(subprocess.run([sys.executable, {str(stand_in)!r}, *sys.argv[1:]]).returncode)\n"
        + PORT.format(root=str(Path(__file__).parents[2])).replace(
            "sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])", "'', Path(sys.argv[1]), Path(sys.argv[2])"
        )
        + body
        + "\n"
    )
    command = f"third={sys.executable} {script}"
    process = run_python(
        DRIVER,
        "good",
        "run",
        *QUICK,
        "--verbose",
        "--implementation",
        command,
        "--out",
        "out",
        cwd=directory,
        timeout=600,
    )
    if process.returncode not in (0, 1, 3):
        return [f"exit code {process.returncode}: {process.stderr.strip()[-300:]}"]
    failures = []
    if "\x1b" in process.stdout or r"\x1b[2J" not in process.stdout or "[/red]" not in process.stdout:
        failures.append("the terminal does not show it as text")
    page = (directory / "out" / "report.html").read_text()
    if "<script>alert(1)" in page or "&lt;script&gt;alert(1)" not in page or "{{ 7 * 7 }}" not in page:
        failures.append("the page does not show it as text")
    again = run_python("-m", "compare", "report", "out", cwd=directory)
    return failures if again.returncode == process.returncode else [*failures, f"report: {again.stderr[-300:]}"]


# --- schedulers ------------------------------------------------------------------------------------

SECONDS_FOR_A_SCHEDULER = 10.0


@contextlib.contextmanager
def _listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """An address where something answers so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=_answer, args=(answer, connection), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def _answer(answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection:
        answer(connection)


def _http(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    time.sleep(60)


def _silent(connection: socket.socket) -> None:
    del connection
    time.sleep(60)


def _garbage(connection: socket.socket) -> None:
    connection.sendall(os.urandom(10_000))
    time.sleep(60)


def _small_frames(connection: socket.socket) -> None:
    """One frame, as Dask counts them, that is no message."""
    connection.sendall((24).to_bytes(8, "little") + (1).to_bytes(8, "little") + (8).to_bytes(8, "little") + b"\xc1" * 8)
    time.sleep(60)


ADDRESSES: dict[str, tuple[str, Callable[[socket.socket], None]]] = {
    "HTTP": ("tcp://", _http),
    "silence, as a frozen scheduler": ("tcp://", _silent),
    "random bytes": ("tcp://", _garbage),
    "a frame that is no message": ("tcp://", _small_frames),
    "tls:// without certificates": ("tls://", _silent),
    "ws:// to what is none": ("ws://", _http),
}


@experiment(
    "Hangs",
    "`study --scheduler` with an address that answers as HTTP, not at all, with random bytes, or wants certificates",
    f"a line within {SECONDS_FOR_A_SCHEDULER:g} seconds",
    few=len(ADDRESSES),
    many=len(ADDRESSES),
)
def schedulers(directory: Path, n: int) -> list[str]:
    del n, directory
    from compare.study.connection import connect

    failures = []
    for name, (scheme, answer) in ADDRESSES.items():
        with _listening(answer) as address:
            try:
                with within(SECONDS_FOR_A_SCHEDULER):
                    connect(scheme + address, None).close()
                failures.append(f"{name}: was taken")
            except BadArgumentError as error:
                if address not in str(error):
                    failures.append(f"{name}: {error}")
            except Exception as error:
                failures.append(f"{name}: {first_words(error)}")
    return failures


@experiment(
    "Hangs",
    "Ctrl-C while `study --scheduler` waits for an address that says nothing",
    "it ends within 5 seconds",
    few=1,
    many=5,
)
def interrupted_schedulers(directory: Path, n: int) -> list[str]:
    failures = []
    command = [PYTHON, "-m", "compare", "study", *QUICK[:-2], "--out", "out", "--scheduler"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(n):
        connected = threading.Event()

        def answer(connection: socket.socket, connected: threading.Event = connected) -> None:
            connected.set()
            _silent(connection)

        with _listening(answer) as address:
            process = subprocess.Popen(
                [*command, f"tcp://{address}"], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True
            )
            if not connected.wait(120):
                failures.append("it did not connect")
            process.send_signal(signal.SIGINT)
            try:
                _, errors = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                failures.append("still there after 5 s")
                continue
        if process.returncode != 130 or "Traceback" in errors:
            failures.append(f"exit code {process.returncode}: {errors[-300:]}")
    return failures


# --- weights that no training leaves ---------------------------------------------------------------


@experiment(
    "Believed",
    "`convert` of a `.ckpt` with NaN, an infinity, float64, float16, whole numbers, or a tensor too many or too few",
    "a line that names the tensor",
    few=3,
    many=7,
)
def conversions(directory: Path, n: int) -> list[str]:
    import torch

    def replaced(make: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
        def change(state: dict[str, Any]) -> None:
            state["model.hidden_1.bias"] = make(state["model.hidden_1.bias"])

        return change

    changes: dict[str, Callable[[dict[str, Any]], Any]] = {
        "NaN": replaced(lambda tensor: tensor * float("nan")),
        "float64": replaced(lambda tensor: tensor.double()),
        "too few": lambda state: state.pop("model.hidden_1.bias"),
        "an infinity": replaced(lambda tensor: tensor + float("inf")),
        "float16": replaced(lambda tensor: tensor.half()),
        "whole numbers": replaced(lambda tensor: tensor.to(torch.uint8)),
        "too many": lambda state: state.update(other=state["model.hidden_1.bias"]),
    }
    failures = []
    for number, (name, change) in enumerate(list(changes.items())[:n]):
        path = directory / f"{number}.ckpt"
        write_checkpoint(path)
        content = torch.load(path, weights_only=True)
        change(content["state_dict"])
        torch.save(content, path)
        process = run_python("-m", "lightning_impl", "convert", path.name, f"{number}.safetensors", cwd=directory)
        tensor = "other" if name == "too many" else "hidden_1.bias"
        if (wrong := ended_in_one_line(process, tensor)) or (directory / f"{number}.safetensors").exists():
            failures.append(f"{name}: {wrong or 'something was written'}")
    return failures
