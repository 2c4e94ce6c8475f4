"""What Lightning's implementation does on a device that is not the CPU; see `fake_gpu.py`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from record.first_steps import read_trace
from record.training import RunRecord, read_record
from tests.conftest import ALL_AT_ONCE, recipe_of, run_python


def test_records_of_another_device_say_so_and_hold_the_cpus_numbers(
    trained: Callable[..., RunRecord], own_data: str, tmp_path: Path
) -> None:
    """Where a tensor stayed on the CPU, this device refuses to compute with it."""
    fields = {**ALL_AT_ONCE, "dataset": own_data}
    (tmp_path / "recipe.json").write_text(recipe_of(**fields).to_json())
    process = run_python("-m", "tests.lightning_impl.fake_gpu", "recipe.json", cwd=tmp_path, imported="lightning")
    assert process.returncode == 0, process.stderr[-2000:]
    record, trace = read_record(tmp_path / "record"), read_trace(tmp_path / "trace")
    assert (record.device, trace.device) == ("gpu", "gpu")
    on_the_cpu = trained("lightning", **fields)
    assert np.array_equal(record.step_losses, on_the_cpu.step_losses)
    assert np.array_equal([step.loss for step in trace.steps], record.step_losses[:10])
    assert [window.first for window in record.windows] == [window.first for window in on_the_cpu.windows]
