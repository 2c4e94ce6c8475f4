"""`python -m benchmarks.figures.parity_runs`: trains what `docs/parity.md` shows, and writes its numbers and its chart.

Every run is a process of its own with one thread, and one runs at a time. A finished run is used
again, so that the same command continues where it was stopped.
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures.parity import DOCUMENT, FIGURES, HORIZON, fill_in
from benchmarks.figures.parity_chart import Line, draw
from compare.ladder.trajectory import MIN_CONTROLS, PARTED, Parting, trajectory
from compare.run.implementations import Implementation, keras, lightning
from compare.run.jobs import Job, JobProgress, Outcome, run_all
from recipe import Recipe
from record.training import RunRecord

SIDES: dict[str, Callable[[], Implementation]] = {
    "Keras on TensorFlow": lambda: keras("tensorflow", "cpu"),
    "Keras on torch": lambda: keras("torch", "cpu"),
    "Keras on JAX": lambda: keras("jax", "cpu"),
    "Lightning": lambda: lightning("cpu"),
}
KERAS, KERAS_TORCH, KERAS_JAX, LIGHTNING = SIDES

DTYPES = ("float32", "float64")

NUM_CONTROLS = {("float32", LIGHTNING): 3, ("float32", KERAS): 3, ("float64", LIGHTNING): 3, ("float64", KERAS): 0}
"""Ten-epoch runs of each framework from initial weights one unit in the last place away.

The ladder judges a trajectory by three. One family is enough in float64, where a run takes longest.
"""

VARIATIONS: tuple[dict[str, Any], ...] = (
    *({"seed": seed} for seed in (1, 5, 6, 7)),
    *({"seed": seed, "batch_size": 128} for seed in (2, 3, 2**32 - 1)),
    {"batch_size": 130},  # 461 batches and one of 70 images
    {"batch_size": 999},  # 60 batches and one of 60 images
    {"batch_size": 60_000},
    *({"hidden_sizes": sizes, "batch_size": 128} for sizes in ((), (64, 64), (37, 11), (64,) * 6)),
    *({"learning_rate": rate, "batch_size": 128} for rate in (1e-4, 3e-3, 1e-2)),
    {"beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-4, "batch_size": 128},
)
"""Changes of the default recipe under which one float64 epoch is compared."""


@dataclass(frozen=True)
class Laboratory:
    """Trains, or reads what was trained before."""

    records: Path

    def train(self, side: str, **fields: Any) -> RunRecord:
        """The record of one implementation's run of a recipe.

        Raises:
            ValueError: The training diverged, and there is nothing to compare.
        """
        start = time.perf_counter()
        job = Job(SIDES[side](), Recipe(**fields), self.records, title=side)
        (outcome,) = run_all([job], notify=_ignore)
        if outcome.error is not None:
            raise outcome.error
        record: RunRecord = outcome.record
        state = "read" if outcome.reused else f"trained in {time.perf_counter() - start:.0f} s"
        print(f"{side}, {fields}: {state}, accuracy {_test_accuracy(record):.4f}", flush=True)
        return record


def _ignore(_: JobProgress | Outcome) -> None:
    """Progress of a single run is not shown."""


def _test_accuracy(record: RunRecord) -> float:
    if record.test is None:
        raise ValueError(f"{record.directory} holds a run that diverged")
    return record.test.accuracy


# --- measuring -------------------------------------------------------------------------------------


def compared(first: RunRecord, second: RunRecord) -> dict[str, Any]:
    """All that the document says of a pair of runs."""
    difference = loss_difference(first, second)
    return {
        "parted_at_step": Parting.of(first, second).parted_at_step,
        "max_loss_difference_by_epoch": [_rounded(epoch) for epoch in difference.reshape(first.recipe.epochs, -1)],
        "predicted_differently": int((digits(first) != digits(second)).sum()),
        "weights": weight_difference(first, second),
        "test_accuracies": [round(_test_accuracy(record), 4) for record in (first, second)],
    }


def _rounded(values: NDArray[np.floating]) -> float:
    """The largest of the values, to three digits."""
    return float(f"{values.max():.3g}")


def loss_difference(first: RunRecord, second: RunRecord) -> NDArray[np.float64]:
    """The absolute difference of the losses of every step, shape (steps,)."""
    return np.abs(first.step_losses.astype(np.float64) - second.step_losses)


def digits(record: RunRecord) -> NDArray[np.intp]:
    """The predicted digit of every test image, shape (10000,)."""
    if record.test is None:
        raise ValueError(f"{record.directory} holds a run that diverged")
    return record.test.predictions.argmax(axis=1)


def weight_difference(first: RunRecord, second: RunRecord) -> dict[str, float]:
    """How far the weights of two runs differ, the worst of the tensors each.

    Of single parameters the largest difference: absolute, relative to the tensor's largest, and to
    its own size; of whole tensors the Frobenius norm of the difference, relative to the tensor's.

    Adam moves each weight by up to a learning rate a step, whatever its size, so that one that
    happens to end near zero carries the rounding of others and differs by much of its own size.
    """
    parameters = [(first.weights[name].astype(np.float64), second.weights[name]) for name in second.weights]
    differences = [np.abs(a - b) for a, b in parameters]
    of_largest = [d / np.abs(b).max() for d, (_, b) in zip(differences, parameters, strict=True)]
    norm = np.linalg.norm
    of_norm = [norm(d) / norm(b.astype(np.float64)) for d, (_, b) in zip(differences, parameters, strict=True)]
    of_own = np.concatenate(
        [(d / np.maximum(np.abs(b), 1e-300)).ravel() for d, (_, b) in zip(differences, parameters, strict=True)]
    )
    return {
        "absolute": max(map(_rounded, differences)),
        "relative_to_largest_of_tensor": max(map(_rounded, of_largest)),
        "relative_in_norm": _rounded(np.array(of_norm)),
        "relative_to_own": _rounded(of_own),
        "beyond_1e-12_of_own": int((of_own > 1e-12).sum()),  # noqa: PLR2004 - the name says it
    }


def ten_epochs(laboratory: Laboratory, dtype: str) -> dict[str, list[RunRecord]]:
    """The default recipe's runs by side: the run itself, then its controls."""
    return {
        side: [
            laboratory.train(side, dtype=dtype, perturbation=number) for number in range(NUM_CONTROLS[dtype, side] + 1)
        ]
        for side in (LIGHTNING, KERAS)
    }


def horizon(runs: Mapping[str, Sequence[RunRecord]]) -> dict[str, Any]:
    """Where ten-epoch runs of one dtype part: the two implementations, and each one's A/A family."""
    between = {KERAS: runs[KERAS][0], LIGHTNING: runs[LIGHTNING][0]}
    families = {side: family for side, family in runs.items() if len(family) > 1}
    judged = {side: family for side, family in families.items() if len(family) > MIN_CONTROLS}
    return {
        "between": compared(*between.values()),
        "controls": {side: [compared(a, b) for a, b in combinations(family, 2)] for side, family in families.items()},
        "trajectory_rung": {side: trajectory(between, family).verdict for side, family in judged.items()},
    }


def one_epoch(laboratory: Laboratory, dtype: str) -> dict[str, Any]:
    """The default recipe for one epoch, on every backend and a control, each against the first."""
    reference = laboratory.train(KERAS, dtype=dtype, epochs=1)
    others = {side: laboratory.train(side, dtype=dtype, epochs=1) for side in SIDES if side != KERAS}
    others["control"] = laboratory.train(KERAS, dtype=dtype, epochs=1, perturbation=1)
    if dtype == "float64":
        # On a CPU, what the switch leaves as it is on torch is the promotion to float32 alone.
        others["promoted"] = laboratory.train(KERAS_TORCH, dtype=dtype, epochs=1, matmul_precision="framework")
    against_keras = {name: compared(reference, record) for name, record in others.items()}
    against_lightning = {side: compared(others[LIGHTNING], others[side]) for side in (KERAS_TORCH, KERAS_JAX)}
    return {"against_keras_on_tensorflow": against_keras, "against_lightning": against_lightning}


def variations(laboratory: Laboratory) -> list[dict[str, Any]]:
    """One float64 epoch under other recipes: Keras on TensorFlow against Lightning, and Lightning's control."""
    entries = []
    for fields in VARIATIONS:
        first, second = (laboratory.train(side, dtype="float64", epochs=1, **fields) for side in (KERAS, LIGHTNING))
        control = laboratory.train(LIGHTNING, dtype="float64", epochs=1, perturbation=1, **fields)
        entries.append(
            {
                "recipe": fields,
                "num_steps": len(first.step_losses),
                **compared(first, second),
                "control": compared(second, control),
            }
        )
    return entries


def scaled_pixels() -> dict[str, dict[str, float]]:
    """How often torchvision's two ways to scale grey levels miss x / 255, and by how many units in the last place."""
    import torch
    from torchvision.transforms import ToTensor, v2

    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    image = torch.from_numpy(levels).permute(2, 0, 1)
    scaled = {
        "ToDtype(float32, scale=True)": v2.ToDtype(torch.float32, scale=True)(image),
        "ToDtype(float64, scale=True)": v2.ToDtype(torch.float64, scale=True)(image),
        "ToTensor()": ToTensor()(levels),
    }
    found = {}
    for name, tensor in scaled.items():
        values: NDArray[np.floating] = tensor.numpy().ravel()
        exact = np.arange(256, dtype=values.dtype) / values.dtype.type(255)
        units = np.abs(values - exact) / np.spacing(exact)
        found[name] = {"levels": int((values != exact).sum()), "units_in_the_last_place": float(units.max())}
    return found


# --- the machine -----------------------------------------------------------------------------------


def hardware() -> dict[str, Any]:
    """The processor, its cores and the memory; the vector width decides in which order sums are added up."""
    model, vectors = platform.processor(), "not known"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        names = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
        model = names[1] if names else model
        vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in text), vectors)
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": model, "vectors": vectors, "cores": os.cpu_count(), "memory_gib": round(gibibytes), "threads": 1}


# --- the chart -------------------------------------------------------------------------------------


def chart_lines(runs: Mapping[str, Mapping[str, Sequence[RunRecord]]]) -> list[Line]:
    """The loss differences that the chart shows, all from the unperturbed run of a side."""
    lines = []
    for dtype, by_side in runs.items():
        lines.append(Line(dtype, "Keras – Lightning", loss_difference(by_side[KERAS][0], by_side[LIGHTNING][0])))
        for side, name in ((KERAS, "Keras – Keras"), (LIGHTNING, "Lightning – Lightning")):
            first, *controls = by_side[side]
            lines += [Line(dtype, name, loss_difference(first, control)) for control in controls]
    return lines


def main() -> None:
    """Trains, measures, draws and fills in the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--records", type=Path, default=Path("runs/parity-figures"), help="directory of the runs that are used again"
    )
    laboratory = Laboratory(parser.parse_args().records)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)

    epochs = {dtype: one_epoch(laboratory, dtype) for dtype in DTYPES}
    runs = {dtype: ten_epochs(laboratory, dtype) for dtype in DTYPES}
    varied = variations(laboratory)
    reference = runs["float32"][KERAS][0]
    figures: dict[str, Any] = {
        "command": "python -m benchmarks.figures.parity_runs",
        "hardware": hardware(),
        "versions": {
            **laboratory.train(KERAS_JAX, epochs=1).versions,
            **runs["float32"][LIGHTNING][0].versions,
            **reference.versions,
        },
        "recipe": asdict(Recipe()),
        "num_parameters": reference.num_parameters,
        "steps_per_epoch": len(reference.step_losses) // reference.recipe.epochs,
        "parted": PARTED,
        "one_epoch": epochs,
        "variations": varied,
        "horizon": {dtype: horizon(by_side) for dtype, by_side in runs.items()},
        "scaled_pixels": scaled_pixels(),
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    draw(chart_lines(runs), HORIZON, parted=PARTED, steps_per_epoch=figures["steps_per_epoch"])
    DOCUMENT.write_text(fill_in(DOCUMENT.read_text(), json.loads(FIGURES.read_text())))
    print(f"wrote {FIGURES}, {HORIZON} and {DOCUMENT}")


if __name__ == "__main__":
    main()
