"""Fixtures for all tests. The pytest process may import torch, never Keras, TensorFlow or JAX.

What needs those runs in a process of its own: TensorFlow and torch in one process crash or hang.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; subprocesses inherit it

import numpy as np
import pytest
from filelock import FileLock

from recipe import Recipe
from recipe.datasets import with_images
from recipe.initial_weights import initial_weights
from recipe.mnist import ARCHIVE
from record.training import RunRecord, Status, TestResults, read_record, write_training
from tests.fork_client import FORK_FROM
from tests.fork_server import PYTHON, start
from tests.own_data import write_archive

ROOT = Path(__file__).parents[1]

SHORT = {"dtype": "float64", "epochs": 1, "batch_size": 1000}
"""60 steps in float64, where two aligned implementations differ by nothing but rounding."""

SMALL = {"epochs": 3, "batch_size": 20, "learning_rate": 3e-3, "filters": (4, 6), "hidden_sizes": (16, 12)}
"""On `own_data` 16 steps an epoch, the last one smaller: convolutions and dropout in a moment."""

ALL_AT_ONCE = {**SMALL, "dtype": "float64", "network": "cnn", "dropout": 0.2}

WORKERS = {
    "keras-tensorflow": ("keras_impl.worker", "--backend", "tensorflow", "--device", "cpu"),
    "keras-torch": ("keras_impl.worker", "--backend", "torch", "--device", "cpu"),
    "keras-jax": ("keras_impl.worker", "--backend", "jax", "--device", "cpu"),
    "lightning": ("lightning_impl.worker", "--device", "cpu"),
}


_STAND_IN = "MNIST_PARITY_PYTHON_OF_TESTS"

Once = Callable[[str, Callable[[Path], None]], Path]


def recipe_of(**fields: Any) -> Recipe:
    """A recipe as the programs make it of their options: a preset may be among the fields, a data set is read."""
    return with_images(Recipe.from_preset(**fields))


def pytest_configure(config: pytest.Config) -> None:
    """Started in the background, pytest ignores Ctrl-C, and all that it starts would inherit that."""
    from compare.run.gpus import are_there  # which the stand-ins need not, that import this file as well

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not are_there():  # a driver's threads do not survive a fork
        sys.executable = os.environ.get(_STAND_IN) or start()
        os.environ[_STAND_IN] = sys.executable  # one for all processes of xdist
    compiled = Path(config.rootpath, ".pytest_cache", "compiled")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    config.addinivalue_line("markers", "gpu: what needs a GPU; skipped only where there is none")
    config.addinivalue_line("markers", "zoo: what takes an hour, such as every fault in scripts; only with `-m zoo`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from compare.run.gpus import are_there

    if not are_there():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="no GPU here"))
    if "zoo" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("zoo") is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def run_python(
    *arguments: Any, cwd: Path, timeout: float = 300, imported: str | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Runs Python in `cwd` with the repository's packages.

    Where a framework is named as `imported`, or the arguments run one of this project's programs, the process begins
    with what takes long to import, see `tests/fork_server.py`; not where the test sets an environment of its own.
    """
    defaults = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}
    fork_from = {FORK_FROM: imported} if imported else {}
    return subprocess.run(
        [PYTHON if environment else sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | defaults | environment | fork_from,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


FULL_DISK = """
import resource, sys
from {room}.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes_left}, {bytes_left}))
sys.argv = ["{room}", *sys.argv[1:]]
main()
"""


def run_on_full_disk(room: str, *arguments: Any, bytes_left: int, cwd: Path) -> subprocess.CompletedProcess:
    """Runs an implementation's command line where no file can be longer than that: what is written then, fails.

    For the program it is what a full disk or a quota is, an OSError in the middle of a file, and any user can try it.
    """
    return run_python("-c", FULL_DISK.format(room=room, bytes_left=bytes_left), *arguments, cwd=cwd, timeout=900)


def assert_one_line_of_error(process: subprocess.CompletedProcess, *words: str) -> None:
    """Bad input ends with exit code 2 and one line, no traceback; it says each of `words`."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, process.stderr
    assert process.stderr.rstrip().endswith(lines[0])
    for word in words:
        assert word in lines[0]


@pytest.fixture(autouse=True)
def no_second_framework() -> Iterator[None]:
    """Fails the test that brings Keras or one of its other backends into the pytest process."""
    yield
    assert not {"keras", "tensorflow", "jax"} & sys.modules.keys()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """`once(name, make)` calls `make(directory)` for the first test that asks, over all xdist workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent

    def get(name: str, make: Callable[[Path], None]) -> Path:
        directory = shared / "once" / name
        directory.parent.mkdir(exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if not (directory / "made").exists():
                directory.mkdir(exist_ok=True)
                make(directory)
                (directory / "made").touch()
        return directory

    return get


@pytest.fixture(scope="session")
def own_data(once: Once) -> str:
    """The path of a small data set, see `tests/own_data.py`."""
    return str(once("own-data", write_archive) / "own.npz")


@pytest.fixture(scope="session")
def trained(once: Once) -> Callable[..., RunRecord]:
    """`trained(worker, **fields)` is the record of a worker's run of that recipe, run once a session."""

    def get(worker: str, **fields: Any) -> RunRecord:
        recipe = recipe_of(**fields)
        name = "-".join([worker, *(f"{key}={value}" for key, value in fields.items())]).replace("/", "_")

        def make(directory: Path) -> None:
            (directory / "recipe.json").write_text(recipe.to_json())
            process = run_python("-m", *WORKERS[worker], "recipe.json", "record", cwd=directory)
            assert process.returncode == 0, process.stderr
            (directory / "stdout").write_text(process.stdout)

        return read_record(once(name, make) / "record")

    return get


@pytest.fixture
def in_keras(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`in_keras(code, backend=, **fields)` runs code under Keras and returns the dict of arrays that it calls `out`.

    The code finds `recipe`, made of the fields.
    """

    def get(code: str, *, backend: str = "tensorflow", **fields: Any) -> dict[str, Any]:
        script = (
            "import json, sys\nimport numpy as np\nfrom recipe import Recipe\nfrom recipe.datasets import with_images\n"
            "from keras_impl.backend import select\n"
            f"recipe = with_images(Recipe.from_preset(**json.loads({json.dumps(json.dumps(fields))})))\n"
            f"select({backend!r}, 'cpu', recipe)\nimport keras\n{code}\nnp.savez('out.npz', **out)\n"
        )
        imported = None if backend == "jax" else backend
        process = run_python("-c", script, cwd=tmp_path, imported=imported)
        assert process.returncode == 0, process.stderr
        with np.load(tmp_path / "out.npz") as arrays:
            return dict(arrays)

    return get


TINY = Recipe(hidden_sizes=(2,), batch_size=30_000, epochs=2)
"""A recipe whose record is small and takes no training to write."""


def _make_every_tenth_right(probabilities: Any) -> None:
    """Swaps probabilities so that a tenth of the digits is predicted right, as a canned record states."""
    with np.load(ARCHIVE) as arrays:
        labels = arrays["y_test"]
    rows, top = np.arange(len(labels)), probabilities.argmax(axis=1)
    other = np.where(rows % 10 == 0, labels, np.where(top == labels, (labels + 1) % 10, top))
    probabilities[rows, top], probabilities[rows, other] = probabilities[rows, other], probabilities[rows, top]


def write_canned(directory: Path, recipe: Recipe = TINY, **changes: Any) -> None:
    """Writes a valid record of random results; `changes` are fields of `RunRecord`."""
    random = np.random.default_rng(0)
    images = recipe.images
    probabilities = random.dirichlet(np.ones(images.num_classes), images.num_test_images).astype(recipe.dtype)
    if recipe.dataset == "mnist":
        _make_every_tenth_right(probabilities)
    keys = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")
    arguments: dict[str, Any] = {
        "recipe": recipe,
        "framework": "numpy",
        "versions": {"python": "3", "numpy": "2"},
        "backend": "none",
        "device": "cpu",
        "threads": 1,
        "settings": {"optimizer.name": "adam"},
        "history": {key: [0.5] * recipe.epochs for key in keys},
        "test": TestResults(2.3, 0.1, probabilities),
        "seconds": 1.5,
        "peak_memory_bytes": 1000,
        "status": Status("finished"),
        "step_losses": np.full(recipe.epochs * -(-images.num_training_images // recipe.batch_size), 2.3, recipe.dtype),
        "weights": initial_weights(recipe),
    }
    write_training(directory, RunRecord(**{**arguments, **changes}))
