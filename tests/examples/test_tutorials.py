"""The tutorial's own code runs as it is, also without a network; here for a few steps instead of ten epochs."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python

SHORTENED = {
    "keras": """
import keras
fit = keras.Sequential.fit
keras.Sequential.fit = lambda *data, **chosen: fit(*data, **chosen | {"epochs": 1, "steps_per_epoch": 5})
""",
    "lightning": """
import lightning
stock, few = lightning.Trainer, {"max_epochs": 1, "limit_train_batches": 5, "limit_val_batches": 5}
lightning.Trainer = lambda **chosen: stock(accelerator="cpu", **chosen | few)
""",
}
RUN = """
import runpy
runpy.run_path({path!r}, run_name="__main__")
"""
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


@pytest.mark.parametrize(("side", "said"), [("keras", r"test accuracy \d+\.\d\d%"), ("lightning", r"val_accuracy")])
def test_tutorial_runs_as_it_is_without_a_network(tmp_path: Path, side: str, said: str) -> None:
    path = str(ROOT / "examples" / f"tutorial_{side}.py")
    environment = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "-1"}
    process = run_python("-c", SHORTENED[side] + RUN.format(path=path), cwd=tmp_path, **environment, **NO_NETWORK)
    assert process.returncode == 0, process.stderr
    assert re.search(said, process.stdout)


def test_tutorials_need_nothing_of_this_project_but_the_digits() -> None:
    for side in SHORTENED:
        text = (ROOT / "examples" / f"tutorial_{side}.py").read_text()
        imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
        assert not imported & {"recipe", "record", "pictures", "keras_impl", "lightning_impl", "compare", "benchmarks"}
        for words in ("128", "256", "512", "batch_size=32", "epochs=10"):
            assert words in text
