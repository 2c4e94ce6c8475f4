"""What only a GPU can tell: commands, each with what it must leave, for pytest and for `make gpu-check`.

It has not run on a GPU. `python -m tests.gpu --rehearse` runs on a CPU what needs no CUDA.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compare.run import gpus
from recipe import Recipe

ROOT = Path(__file__).parents[2]

Judge = Callable[[Path, str, str], str]
"""From the directory that a command ran in, what it printed, and the device, to what the table says of it."""

SMALL = ("--recipe.epochs", "1", "--recipe.hidden_sizes", "[32]", "--recipe.batch_size", "500")
SHARES_A_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Checks run side by side, and TensorFlow would take all of a GPU's memory at the start, JAX three quarters."""

CNN = ("--recipe.network", "cnn", "--recipe.filters", "[4,8]")


@dataclass(frozen=True)
class Check:
    """A command and what it must leave.

    Args:
        name: What the table calls it.
        words: The command after Python; `{device}` is gpu, or cpu in a rehearsal.
        judge: What to look at behind it; left out, the exit code counts alone.
        seconds: What it may take.
        exit_codes: With one of which it must end.
        num_gpus: How many GPUs it needs.
        cuda: Whether there is nothing to rehearse on a CPU.
        framework: What must be installed and, but for torch, find a GPU.
    """

    name: str
    words: tuple[str, ...]
    judge: Judge = lambda *_: ""
    seconds: float = 120
    exit_codes: tuple[int, ...] = (0,)
    num_gpus: int = 1
    cuda: bool = False
    framework: str = "torch"


@dataclass(frozen=True)
class Result:
    """How a check ended: passed, FAILED, or why it was not run."""

    name: str
    outcome: str
    seconds: float = 0.0
    said: str = ""


def run(check: Check, directory: Path, *, device: str = "gpu") -> Result:
    """Runs a check in a directory of its own."""
    directory.mkdir(parents=True)
    (directory / "recipe.json").write_text(Recipe(epochs=1, hidden_sizes=(32,), batch_size=500).to_json())
    words = [word.replace("{device}", device) for word in check.words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **SHARES_A_GPU}
    begin = time.monotonic()
    try:
        process = subprocess.run(
            [sys.executable, *words],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=check.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(check.name, "FAILED", check.seconds, f"took more than {check.seconds:.0f} seconds")
    seconds = time.monotonic() - begin
    (directory / "output.txt").write_text(process.stdout)
    last = (process.stdout.strip().splitlines() or [""])[-1]
    if process.returncode not in check.exit_codes:
        return Result(check.name, "FAILED", seconds, f"exit code {process.returncode}: {last}")
    try:
        return Result(check.name, "passed", seconds, check.judge(directory, process.stdout, device))
    except (AssertionError, LookupError, OSError, ValueError) as error:
        return Result(check.name, "FAILED", seconds, f"{type(error).__name__}: {error}")


def missing(check: Check, num_gpus: int, *, device: str = "gpu") -> str | None:
    """Why a check cannot be run here; None where it can. That torch finds no GPU is a failure."""
    if importlib.util.find_spec(check.framework) is None:
        return f"{check.framework} is not installed"
    if device == "gpu" and check.framework != "torch" and gpus.found_by(check.framework) == "cpu":
        return f"{check.framework} finds no GPU; docs/questions/no-gpu.md says why"
    if num_gpus < check.num_gpus:
        return f"needs {check.num_gpus} GPUs"
    return None


def _record(directory: Path, _: str, device: str) -> str:
    record = json.loads((directory / "record" / "record.json").read_text())
    assert record["device"] == device, f"the record says {record['device']}"
    if record["kind"] == "trace":
        return device
    memory = record.get("peak_gpu_memory_bytes")
    assert device == "cpu" or memory, "the record says no peak of the GPU's memory"
    return f"{device}, {record['test']['accuracy']:.1%}, {(memory or 0) / 1e6:,.0f} MB of the GPU"


def _comparison(directory: Path, _: str, device: str) -> str:
    results = json.loads((directory / "out" / "results.json").read_text())
    sides = results["implementations"]
    wrong = [name for name, side in sides.items() if side["device"] != device]
    assert not wrong, f"not on the {device}: {', '.join(wrong)}"
    seconds = [side.get("seconds_per_epoch") for side in sides.values()]
    epochs = f", {' and '.join(f'{one:.2f}' for one in seconds)} s an epoch" if all(seconds) else ""
    return f"{results['verdict']}{epochs}"


def of_convolutions(directory: Path, output: str, device: str) -> str:
    """Parity, or Winograd's algorithm, of which the bounds do not hold, by its name."""
    said = _comparison(directory, output, device)
    by_winograd = "Winograd's algorithm" in (directory / "out" / "results.json").read_text()
    assert by_winograd or said == "parity", said
    return f"{said}, by Winograd's algorithm" if by_winograd else said


def _names_tf32(directory: Path, output: str, device: str) -> str:
    results = (directory / "out" / "results.json").read_text()
    assert '"tf32"' in results.partition('"settings"')[2], "the settings do not differ in TF32"
    return _comparison(directory, output, device)


def _last_line(_: Path, output: str, __: str) -> str:
    return output.strip().splitlines()[-1]


def _worker(room: str, *words: str) -> tuple[str, ...]:
    return ("-m", f"{room}.worker", *words, "--device", "{device}", "recipe.json", "record")


def _fit(*words: str) -> tuple[str, ...]:
    quiet = ("--trainer.enable_progress_bar", "false", "--trainer.logger", "false", "--checkpoints", "ck")
    return (
        "-m",
        "lightning_impl",
        "fit",
        "--trainer.accelerator",
        "{device}",
        "--trainer.devices",
        "1",
        *quiet,
        *SMALL,
        *words,
    )


def _graph(*words: str) -> tuple[str, ...]:
    return _fit("--model.cuda_graph", "true", *words)


def _compare(command: str, backend: str, *words: str) -> tuple[str, ...]:
    return ("-m", "compare", command, "--device", "{device}", "--keras.backend", backend, "--out", "out", *words)


_CUDNN = """
import torch
images = torch.randn(8, 3, 28, 28, device="cuda", requires_grad=True)
torch.nn.Conv2d(3, 8, 3).cuda()(images).sum().backward()
torch.cuda.synchronize()
print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), torch.cuda.get_device_name())
"""

_HOW_FAR_APART = """
import lightning, numpy as np, time
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.data import MnistDataModule
from lightning_impl.weights import get_weights
from recipe import Recipe
def train(steps, **options):
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    epoch = dict(max_epochs=1, num_sanity_val_steps=0, limit_val_batches=0)
    trainer = lightning.Trainer(accelerator="{device}", devices=1, **epoch, **quiet)
    module = BlockDigitClassifier(Recipe(epochs=1), steps, **options)
    begin = time.perf_counter()
    trainer.fit(module, MnistDataModule(Recipe(epochs=1)))
    weights = get_weights(module.model)  # which waits for the GPU
    return weights, time.perf_counter() - begin
runs = {"blocks": train(125), "again": train(125), "single steps": train(1)}
if "{device}" == "gpu":
    runs["graph"] = train(125, cuda_graph=True)
first, _ = runs["blocks"]
for name, (weights, seconds) in runs.items():
    apart = max(float(np.abs(weights[key] - first[key]).max()) for key in weights)
    print(f"{name} {apart:.2g} ({seconds:.1f} s)", end="; ")
"""

_DDP = ("--trainer.devices", "-1", "--trainer.strategy", "ddp")

RECIPES = {
    "": (),
    ", float64": ("--recipe.dtype", "float64"),
    ", dropout": ("--recipe.dropout", "0.2"),
    ", cnn": ("--recipe.network", "cnn"),
}

CHECKS = (
    Check("a convolution by cuDNN", ("-c", _CUDNN), _last_line, cuda=True),
    Check("blocks, single steps, graph: largest difference of a weight", ("-c", _HOW_FAR_APART), _last_line),
    Check("Lightning: training and record", _worker("lightning_impl"), _record),
    Check("Lightning: trace", (*_worker("lightning_impl"), "--trace"), _record),
    Check("fit", _fit()),
    Check("fit, single steps", _fit("--model.steps_per_execution", "1")),
    Check("fit, cnn", _fit(*CNN)),
    Check("fit, deterministic", _fit("--trainer.deterministic", "true", *CNN)),
    Check("fit, ddp of one", _fit("--trainer.strategy", "ddp")),
    *(
        Check(f"fit, {precision}", _fit("--trainer.precision", precision), cuda=precision.startswith("16"))
        for precision in ("16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true")
    ),
    Check(
        "fit, 16-mixed, torch's Adam", _fit("--trainer.precision", "16-mixed", "--recipe.adam", "framework"), cuda=True
    ),
    Check("fit --config gpu", ("-m", "lightning_impl", "fit", "--config", "gpu", *SMALL), cuda=True),
    Check("CUDA graph, a smaller last batch", _graph("--recipe.batch_size", "700"), cuda=True),
    Check("CUDA graph, dropout", _graph("--recipe.dropout", "0.2"), cuda=True),
    Check(
        "CUDA graph, torch's dropout",
        _graph("--recipe.dropout", "0.2", "--recipe.dropout_masks", "framework"),
        cuda=True,
    ),
    Check("CUDA graph, cnn", _graph(*CNN), cuda=True),
    Check("CUDA graph, torch's Adam", _graph("--recipe.adam", "framework"), cuda=True),
    Check("CUDA graph, float64", _graph("--recipe.dtype", "float64"), cuda=True),
    *(
        Check(
            f"Keras on {backend}: training and record",
            _worker("keras_impl", "--backend", backend),
            _record,
            framework=backend,
        )
        for backend in ("torch", "jax", "tensorflow")
    ),
    *(
        Check(
            f"align, Keras on {backend}{words}",
            _compare("align", backend, *options),
            of_convolutions if "cnn" in options else _comparison,
            180,
            exit_codes=(0, 1) if "cnn" in options else (0,),  # 1 is "not parity"
            framework=backend,
        )
        for backend in ("torch", "jax", "tensorflow")
        for words, options in RECIPES.items()
    ),
    *(
        Check(
            f"align, Keras on {backend}, native: TF32 is named",
            _compare("align", backend, "--recipe.preset", "native"),
            _names_tf32,
            exit_codes=(1,),
            cuda=True,
            framework=backend,
        )
        for backend in ("jax", "tensorflow")
    ),
    *(
        # Of one epoch and one control some rungs cannot be decided: 3.
        Check(
            f"run, Keras on {backend}",
            _compare("run", backend, *SMALL, "--controls", "1"),
            _comparison,
            240,
            exit_codes=(0, 3),
            framework=backend,
        )
        for backend in ("torch", "jax")
    ),
    Check("ddp on all GPUs", _fit(*_DDP), num_gpus=2, cuda=True),
    Check("ddp on all GPUs, cnn", _fit(*_DDP, *CNN), num_gpus=2, cuda=True),
    Check("ddp on all GPUs, 16-mixed", _fit(*_DDP, "--trainer.precision", "16-mixed"), num_gpus=2, cuda=True),
    Check("fsdp on all GPUs", _fit("--trainer.devices", "-1", "--trainer.strategy", "fsdp"), num_gpus=2, cuda=True),
)
