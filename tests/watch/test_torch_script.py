"""Scripts as people write them, run by the torch watcher in a process of its own."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).parents[2]


@dataclass
class Seen:
    """What a watcher wrote."""

    document: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def names(self, step: int = 0) -> list[str]:
        return [call["layer"] or f"{call['function']}()" for call in self.document["calls"][step]]


def watch(folder: Path, source: str, *, name: str = "port.py", part: str = "look", **request: Any) -> Seen:
    script = folder / name
    if not script.exists():
        script.write_text(textwrap.dedent(source))
    out, working = folder.parent / f"{folder.name}-{part}", folder.parent / f"{folder.name}-{part}-work"
    out.mkdir()
    working.mkdir()
    values = {"script": str(script), "working_directory": str(working), "steps": 3, "order": "identity", **request}
    (out / "request.json").write_text(json.dumps(values))
    command = [sys.executable, "-m", "watch.torch_script", str(out / "request.json"), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return Seen(json.loads((out / "observed.json").read_text()), load_file(out / "observed.safetensors"))


def plan_of(seen: Seen, folder: Path, taken_again: Sequence[str] = ()) -> Path:
    """A plan that asks for exactly what was seen; the inputs of some layers are taken again by others."""
    document, folder = seen.document, folder.parent / f"{folder.name}-plan"
    folder.mkdir()

    def planned(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = ("layer", "occurrence", "inputs", "outputs")
        return [
            {name: call[name] for name in names} | {"taken_again": call["layer"] in taken_again}
            for call in calls
            if call["layer"]
        ]

    steps = [
        {
            "parameters": update["parameters_before"], "inputs": fed["inputs"], "targets": fed["targets"],
            "gradients": {path: key for path, key in update["raw_gradients"].items() if key},
            "calls": planned(document["calls"][number]) if number < len(document["calls"]) else [],
        }
        for number, (update, fed) in enumerate(zip(document["updates"], document["fed"], strict=True))
    ]  # fmt: skip
    plan = {
        "parameters": document["updates"][0]["parameters_before"], "steps": steps,
        "evaluation": {"calls": planned(document["evaluation_calls"] or [])}, "zero_dropout": True,
    }  # fmt: skip
    save_file(seen.arrays, folder / "plan.safetensors")
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def _keys(document: dict[str, Any]) -> list[tuple[str, str | None]]:
    """All keys of values, each with what it is of."""
    found = []
    for calls in [*document["calls"], document["evaluation_calls"]]:
        for call in calls:
            found += [(f"{call['layer']} {side}", key) for side in ("inputs", "outputs") for key in call[side]]
    for update in document["updates"]:
        for side in ("parameters_before", "raw_gradients", "gradients", "parameters_after"):
            found += [(f"{side} {path}", update[side][path]) for path in sorted(update[side])]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "user"
    made.mkdir()
    return made


DENSE = """
    import torch
    from torch import nn
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    x = torch.randn(64, 6)
    y = (x.sum(1) > 0).long()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(6, 8)
            self.norm = nn.BatchNorm1d(8)
            self.drop = nn.Dropout(0.4)
            self.fc2 = nn.Linear(8, 2)

        def forward(self, x):
            x = F.leaky_relu(self.norm(self.fc1(x)), 0.3)
            return self.fc2(self.drop(x))

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    EPOCHS = 5
    for epoch in range(EPOCHS):
        for inputs, labels in DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            optimizer.step()
            scheduler.step()
"""


def test_an_order_of_its_own_workers_that_read_all_and_modes_are_seen(folder: Path) -> None:
    source = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, IterableDataset

    x, y = torch.arange(40.0).reshape(40, 1), torch.arange(40.0).reshape(40, 1)

    class Rows(IterableDataset):
        def __iter__(self):
            return iter(zip(x[torch.randperm(40)], y[torch.randperm(40)]))

    net = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
    net.train()
    net[1].eval()
    for inputs, targets in DataLoader(Rows(), batch_size=10, num_workers=3):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(inputs), targets).backward()
        optimizer.step()
    """
    seen = watch(folder, source)
    fed = seen.document["fed"][0]
    np.testing.assert_array_equal(seen.arrays[fed["inputs"][0]].ravel(), np.arange(10))
    np.testing.assert_array_equal(seen.arrays[fed["targets"][0]].ravel(), [7, 6, 5, 4, 3, 2, 1, 0, 8, 9])
    assert seen.document["data"]["loaders"][0]["copies"] == 3
    modes = seen.document["loop"]["mode_places"]
    assert [modes[path]["code"] for path in ("", "0", "1")] == ["net.train()", "net.train()", "net[1].eval()"]


def test_a_sampler_with_the_weights_of_classes_and_a_moved_momentum_are_seen(folder: Path) -> None:
    """Samples that are drawn anew are not changed at random, and it is told which ones can be drawn at all."""
    source = """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

    labels = torch.arange(40) % 4
    rows = TensorDataset(torch.arange(40.0).reshape(40, 1), labels)
    weights = 1 / torch.bincount(labels)
    loader = DataLoader(rows, batch_size=10, sampler=WeightedRandomSampler(weights, 40))
    held = DataLoader(Subset(rows, range(30, 40)), batch_size=10)
    some = DataLoader(Subset(rows, range(8, 40)), batch_size=8, sampler=SubsetRandomSampler(range(4, 10)))
    net = nn.Linear(1, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=12)
    for inputs, targets in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
        scheduler.step()
    """
    seen = watch(folder, source)
    found = [[entry[name] for name in ("drawable", "weights", "num_sampled", "rows")]
             for entry in seen.document["data"]["loaders"]]  # fmt: skip
    assert found == [
        [4, 4, 40, None],
        [10, None, 10, {"first": 30, "count": 10, "of": 40}],
        [6, None, 6, {"first": 12, "count": 6, "of": 40}],
    ]
    assert seen.document["data"]["read"]["training"]["random"] is False
    betas = [update["settings"][0]["betas"][0] for update in seen.document["updates"]]
    assert betas[0] == 0.95
    assert betas[0] > betas[1] > betas[2]


def test_a_plain_loop_is_seen_whole(folder: Path) -> None:
    seen = watch(folder, DENSE)
    document = seen.document
    assert document["status"]["outcome"] == "observed"
    assert document["steps"] == 3
    assert seen.names() == ["fc1", "norm", "leaky_relu()", "drop", "fc2"]
    leaky = document["calls"][0][2]
    assert leaky["kwargs"]["negative_slope"] == 0.3
    assert leaky["place"]["code"] == "x = F.leaky_relu(self.norm(self.fc1(x)), 0.3)"
    assert leaky["inputs"] == document["calls"][0][1]["outputs"]
    assert leaky["from"] == [1]
    assert document["calls"][0][0]["from"] == [-1]
    term = document["losses"][0]["terms"][0]
    assert (term["function"], term["settings"]["reduction"]) == ("cross_entropy", "mean")
    assert document["losses"][0]["value"] == term["value"]
    assert document["optimizer"]["settings"]["momentum"] == 0.9
    assert [update["learning_rate"] for update in document["updates"]] == [0.1, 0.1, 0.05]
    assert document["loop"]["zero_grad"] == [1, 1, 1]
    assert document["loop"]["clip"][0]["settings"]["max_norm"] == 0.1
    assert document["loop"]["scheduler"][0]["per"] == "step"
    rates = document["loop"]["rates"]
    assert (rates["per"], rates["at"][:9]) == ("step", list(range(9)))
    assert rates["values"][:9] == [0.1 * 0.5 ** (step // 2) for step in range(9)]  # StepLR's, past the three steps
    assert document["loop"]["stopping"]["ends_early"] is False
    assert document["data"]["loaders"][0]["num_batches"] == 4
    assert document["data"]["epochs"]["value"] == 5
    loader = document["data"]["loaders"][0]
    assert (loader["batch_size"], loader["shuffle"], loader["num_workers"], loader["copies"]) == (16, True, 2, 1)
    assert document["data"]["permutations"][0]["function"] == "RandomSampler"
    assert (document["dropout"][0]["layer"], document["dropout"][0]["rate"]) == ("drop", 0.4)
    layer = next(layer for layer in document["model"]["layers"] if layer["name"] == "norm")
    assert layer["parameters"]["running_var"]["is_buffer"]
    assert layer["place"]["code"] == "self.norm = nn.BatchNorm1d(8)"
    assert [call["layer"] for call in document["evaluation_calls"] if call["layer"]] == ["fc1", "norm", "drop", "fc2"]


def test_the_numbers_are_those_of_the_script(folder: Path) -> None:
    seen = watch(folder, DENSE)
    update, arrays = seen.document["updates"][0], seen.arrays
    call = seen.document["calls"][0][0]
    weight, bias = (arrays[update["parameters_before"][path]] for path in ("fc1.weight", "fc1.bias"))
    expected = arrays[call["inputs"][0]] @ weight.T + bias
    np.testing.assert_allclose(arrays[call["outputs"][0]], expected, rtol=1e-5, atol=1e-6)
    raw = [arrays[key] for key in update["raw_gradients"].values()]
    norm = np.sqrt(sum(float((gradient.astype("float64") ** 2).sum()) for gradient in raw))
    for path, key in update["gradients"].items():
        clipped = arrays[update["raw_gradients"][path]] * min(1, 0.1 / (norm + 1e-6))
        np.testing.assert_allclose(arrays[key], clipped, rtol=1e-4)
        moved = arrays[update["parameters_before"][path]] - 0.1 * arrays[key]
        np.testing.assert_allclose(arrays[update["parameters_after"][path]], moved, rtol=1e-4, atol=1e-6)
    # The running mean before the step is that before the forward pass
    assert not arrays[update["parameters_before"]["norm.running_mean"]].any()
    assert arrays[update["parameters_after"]["norm.running_mean"]].any()


def test_in_double_precision_nothing_is_single(folder: Path) -> None:
    single = "x = torch.from_numpy(__import__('numpy').ones((64, 6), 'float32'))"
    source = DENSE.replace("x = torch.randn(64, 6)", single)
    seen = watch(folder, source.replace("net = Net()", "net = Net().float()"), dtype="float64")
    assert seen.document["status"]["outcome"] == "observed", seen.document["status"]
    assert {array.dtype.name for array in seen.arrays.values()} <= {"float64", "int64"}
    drop = next(call for call in seen.document["calls"][0] if call["layer"] == "drop")
    assert drop["inputs"] == drop["outputs"]


def test_a_plan_is_obeyed_and_one_fault_hides_no_other(folder: Path) -> None:
    reference = watch(folder, DENSE, part="reference", dtype="float64")
    faulty = DENSE.replace("self.fc1(x)), 0.3)", "self.fc1(x)), 0.2)").replace("momentum=0.9", "momentum=0.8")
    (folder / "port.py").write_text(textwrap.dedent(faulty))
    steered = watch(folder, faulty, part="steered", dtype="float64", plan=str(plan_of(reference, folder)))
    for mine, other in zip(steered.document["calls"][0], reference.document["calls"][0], strict=True):
        out, expected = (s.arrays[c["outputs"][0]] for s, c in ((steered, mine), (reference, other)))
        same = np.allclose(out, expected, rtol=1e-12, atol=1e-12)
        assert same == (mine["function"] != "leaky_relu"), mine["layer"]
    first, second = (
        [s.arrays[update["parameters_after"]["fc2.weight"]] for s in (steered, reference)]
        for update in steered.document["updates"][:2]
    )
    np.testing.assert_allclose(*first, rtol=1e-12)  # momentum acts from the second step on
    assert not np.allclose(*second, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("loss = F.cross_entropy(net(inputs), labels)", "loss = (net(inputs)[:, 1] - labels).pow(2).mean()")],
        [("optimizer.zero_grad()", "pass")],
        [("EPOCHS = 5", "EPOCHS = 5\n    with torch.no_grad():\n        net.eval()(x[:5])\n    net.train()")],
        [("loss = F", "penalty = sum(p.abs().sum() for p in net.parameters())\n            loss = 0.01 * penalty + F")],
    ],
    ids=["as it is", "a loss by hand", "no zero_grad", "an evaluation before", "a penalty before the forward pass"],
)
def test_a_script_steered_by_its_own_values_does_the_same(folder: Path, changes: list[tuple[str, str]]) -> None:
    source = DENSE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    own = watch(folder, source, part="own", dtype="float64")
    steered = watch(folder, source, part="steered", dtype="float64", plan=str(plan_of(own, folder)))
    assert steered.document["status"]["outcome"] == "observed", steered.document["status"]
    assert own.names() == steered.names()
    assert {call["occurrence"] for call in own.document["calls"][0]} == {0}  # those that the plan names
    for (where, mine), (_, other) in zip(_keys(steered.document), _keys(own.document), strict=True):
        assert (mine is None) == (other is None), where
        if mine is not None:
            np.testing.assert_allclose(steered.arrays[mine], own.arrays[other], rtol=1e-11, atol=1e-13, err_msg=where)
    for mine, other in zip(steered.document["losses"], own.document["losses"], strict=True):
        assert mine["value"] == pytest.approx(other["value"], rel=1e-12)
    assert own.document["loop"]["stale_gradients"] == [False, "pass" in source, "pass" in source]


def test_lightning_with_its_sanity_check_and_two_batches_a_step(folder: Path) -> None:
    seen = watch(folder, """
        import lightning as L, torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset
        class Task(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)
            def forward(self, x):
                return self.b(torch.tanh(self.a(x)))
            def training_step(self, batch, i):
                return nn.functional.cross_entropy(self.forward(batch[0]), batch[1])
            def validation_step(self, batch, i):
                self.log("v", nn.functional.cross_entropy(self(batch[0]), batch[1]))
            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())
        data = TensorDataset(torch.randn(60, 4), torch.arange(60) % 3)
        trainer = L.Trainer(max_epochs=7, accumulate_grad_batches=2, gradient_clip_val=0.5, logger=False,
                            accelerator="cpu", enable_checkpointing=False)
        trainer.fit(Task(), DataLoader(data, 10, shuffle=True), DataLoader(data, 30))
    """)  # fmt: skip
    document = seen.document
    assert document["status"]["outcome"] == "observed", document["status"]
    assert [name for name in seen.names() if name != "div()"] == ["a", "tanh()", "b", "a", "tanh()", "b"]
    assert document["loop"]["backward"] == [2, 2, 2]
    assert document["data"]["trainer"]["gradient_clip_val"] == 0.5
    assert document["data"]["epochs"] == {"value": 7, "how": "Trainer", "loops": []}
    assert {entry["function"] for entry in document["data"]["permutations"]} == {"RandomSampler"}  # though not iterated
    assert document["model"]["class"] == "Task"
    assert document["losses"][0]["place"]["code"].startswith("return nn.functional.cross_entropy(self.forward")


def test_nothing_is_written_beside_the_script_and_its_files_are_found(folder: Path) -> None:
    (folder / "helper.py").write_text("def scale(x): return x * 2\n")
    (folder / "data").mkdir()
    np.save(folder / "data" / "x.npy", np.ones((8, 3), "float32"))
    (folder / "state.txt").write_text("untouched")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    seen = watch(folder, """
        import os, numpy as np, torch
        from pathlib import Path
        from helper import scale
        x = torch.from_numpy(np.load(Path(__file__).resolve().parent / "data" / "x.npy"))
        open("state.txt", "w").write("changed")
        os.makedirs("data/cache"); torch.save({}, "data/x.npy"); open("data/cache/a", "w").close()
        w = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=1.0)
        while True:
            loss = scale((x @ w - 1) ** 2).mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
    """)  # fmt: skip
    assert seen.document["status"]["outcome"] == "observed", seen.document["status"]
    assert seen.document["model"]["loose_parameters"] == {"w": [3]}
    assert "matmul()" in seen.names()
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "port.py"}
    assert after == {path: time for path, time in before.items() if path.name != "port.py"}
    assert (folder / "state.txt").read_text() == "untouched"


@pytest.mark.parametrize(
    ("source", "outcome", "message"),
    [
        ("import torch\n", "no_steps", ""),
        ("print(1)\nraise ValueError('no good')\n", "failed", "ValueError: no good"),
        ("name = input('?')\n", "failed", "reads from standard input"),
        ("x = = 1\n", "failed", "SyntaxError"),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('x')\np.parse_args()\n", "failed", "code 2"),
        ("open('not there.csv')\n", "failed", "FileNotFoundError"),
    ],
)
def test_a_script_that_fails_says_so(folder: Path, source: str, outcome: str, message: str) -> None:
    status = watch(folder, source).document["status"]
    assert status["outcome"] == outcome
    assert message in status["message"]
    assert "\n" not in status["message"]
    if outcome == "failed" and "argparse" not in source:
        assert status["place"]["file"] == "port.py"
        assert status["place"]["line"] == len(source.splitlines())


AVERAGES = {
    "in_place": "e.mul_(0.75).add_(p, alpha=0.25)",
    "of_data": "e.data = 0.75 * e.data + (1 - 0.75) * p.data",
    "lerp": "e.lerp_(p, 0.25)",
    "detached": "e.copy_(e * 0.75 + p.detach() * 0.25)",
}


@pytest.mark.parametrize("update", [*AVERAGES.values(), "p.mul_(1 - 0.25)"], ids=[*AVERAGES, "decay_of_the_weights"])
def test_a_moving_average_of_the_weights_and_its_decay(folder: Path, update: str) -> None:
    source = f"""
        import copy, torch
        net = torch.nn.Linear(2, 3)
        average = copy.deepcopy(net)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(9):
            optimizer.zero_grad()
            net(torch.ones(3, 2)).sum().backward()
            optimizer.step()
            with torch.no_grad():
                for e, p in zip(average.parameters(), net.parameters()):
                    {update}
    """
    found = watch(folder, source).document["loop"]["ema"]
    if update not in AVERAGES.values():
        assert found is None
        return
    assert (found["decay"], found["updates"]) == (0.75, 2)  # after each step but the last, where all ends
    assert found["place"]["code"] == update


def test_a_notebook_and_its_cells(folder: Path) -> None:
    loop = (
        "o = torch.optim.SGD(net.parameters(), 0.1)\nfor i in range(9):\n    l = net(torch.ones(3, 2)).sum()\n"
        "    o.zero_grad(); l.backward(); o.step()"
    )
    cells = ["%matplotlib inline\nimport torch\nfrom torch import nn", "net = nn.Linear(2, 1)\n!pip list\n", loop]
    notebook = {"cells": [{"cell_type": "markdown", "source": "text"}]}
    notebook["cells"] += [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in cells]
    (folder / "a.ipynb").write_text(json.dumps(notebook))
    seen = watch(folder, "", name="a.ipynb")
    assert seen.document["status"]["outcome"] == "observed", seen.document["status"]
    call = seen.document["calls"][0][0]
    assert call["layer"] == "net"
    assert call["place"] == {"file": "a.ipynb", "cell": 4, "line": 3, "code": "l = net(torch.ones(3, 2)).sum()"}


def test_a_model_that_is_only_used(folder: Path) -> None:
    seen = watch(folder, """
        import torch
        from torch import nn
        def build():
            conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            return nn.Sequential(conv, norm, nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
        model = build(); model(torch.zeros(2, 3, 8, 8))
    """, attribute="model", inputs=str(_images(folder)), dtype="float64")  # fmt: skip
    document = seen.document
    assert document["status"]["outcome"] == "observed", document["status"]
    assert document["steps"] == 0
    layers = [call["layer"] for call in document["evaluation_calls"]]
    assert layers == ["0", "1", "2", "3", "4"]
    assert document["initial"]["parameters"].keys() >= {"0.weight", "1.running_var", "4.bias"}
    norm, relu = document["evaluation_calls"][1:3]
    assert relu["inputs"] == norm["outputs"]
    np.testing.assert_array_equal(seen.arrays[relu["outputs"][0]], np.maximum(seen.arrays[norm["outputs"][0]], 0))


def _images(folder: Path) -> Path:
    path = folder / "images.npy"
    np.save(path, np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype("float32"))
    return path


def test_two_optimizers_that_share_a_loss_make_one_step(folder: Path) -> None:
    seen = watch(
        folder,
        """
        import torch
        from torch import nn

        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        first = torch.optim.SGD(net[0].parameters(), lr=0.1)
        second = torch.optim.Adam(net[1].parameters(), lr=0.2)
        for step in range(5):
            first.zero_grad()
            second.zero_grad()
            net(torch.randn(8, 3)).square().mean().backward()
            first.step()
            second.step()
        """,
    )
    updates = seen.document["updates"]
    assert [update["optimizer"] for update in updates] == [0, 0, 0]
    assert [update["rates"] for update in updates] == [[0.1, 0.2]] * 3
    assert all(update["raw_gradients"].keys() == {"0.weight", "0.bias", "1.weight", "1.bias"} for update in updates)
    moved = [
        np.any(
            seen.arrays[update["parameters_after"]["1.weight"]] != seen.arrays[update["parameters_before"]["1.weight"]]
        )
        for update in updates
    ]
    assert all(moved)
    assert [group["class"] for group in seen.document["optimizer"]["groups"]] == ["SGD", "Adam"]


def test_a_copy_that_is_evaluated_between_steps_is_no_part_of_the_model(folder: Path) -> None:
    seen = watch(
        folder,
        """
        import copy
        import torch
        from torch import nn

        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        average = copy.deepcopy(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(5):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(torch.randn(8, 3)), torch.randn(8, 1)).backward()
            optimizer.step()
            with torch.no_grad():
                for a, p in zip(average.parameters(), net.parameters()):
                    a.mul_(0.9).add_(p, alpha=0.1)
                assert average(torch.randn(20, 3)).shape == (20, 1)
        """,
    )
    assert [layer["name"] for layer in seen.document["model"]["layers"]] == ["0", "1"]
    assert [fed["inputs"] for fed in seen.document["fed"]] == [[f"step{step}/fed/in0"] for step in range(3)]
    assert seen.document["loop"]["ema"]["decay"] == 0.9


def test_a_dropout_that_is_written_out_and_a_module_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "user"
    folder.mkdir()
    source = """
        import torch
        from torch import nn

        class Scale(nn.Module):
            def __init__(self, size):
                super().__init__()
                self.gamma = nn.Parameter(torch.ones(size))

            def forward(self, x):
                return x * self.gamma

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 4)
                self.scale = Scale(4)

            def forward(self, x):
                x = self.scale(self.fc(x))
                return x * torch.bernoulli(torch.full_like(x, 0.9)) / 0.9

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            net(torch.ones(8, 3)).pow(2).mean().backward()
            optimizer.step()
    """
    seen = watch(folder, source, dtype="float64", steps=1)
    (dropout,) = seen.document["dropout"]
    assert (dropout["function"], dropout["rate"], dropout["active"]) == ("bernoulli", 0.1, True)
    layer = next(layer for layer in seen.document["model"]["layers"] if layer["name"] == "scale")
    assert layer["place"]["code"] == "self.scale = Scale(4)"
    calls = seen.document["calls"][0]
    out = seen.arrays[next(call for call in calls if call["layer"] == "scale")["outputs"][0]]
    dropped = seen.arrays[next(call for call in calls if call["function"] in ("div", "truediv"))["outputs"][0]]
    np.testing.assert_allclose(dropped, out, rtol=1e-14)  # the mask is what is kept on average


TWICE = """
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(3):
        a, b = torch.randn(16, 6), torch.randn(16, 6)
        loss = (net(a) - net(b)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def test_a_normalisation_that_is_called_twice_before_the_backward_pass_is_left_as_it_is(folder: Path) -> None:
    document = watch(folder, TWICE).document
    assert document["status"]["outcome"] == "observed", document["status"]["message"]


INSIDE = """
    import torch
    from torch import nn

    class Task(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

        def loss(self, x, y):
            return nn.functional.cross_entropy(self.net(x), y)

    task = Task()
    task.net(torch.zeros(1, 6))
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        task.loss(torch.randn(16, 6), torch.randint(0, 2, (16,))).backward()
        optimizer.step()
"""


def test_a_model_inside_another_one_is_evaluated(folder: Path) -> None:
    document = watch(folder, INSIDE).document
    assert [call["layer"] for call in document["evaluation_calls"] if call["layer"]][-1].endswith("2")


BLOCKS = """
import torch
from torch import nn

torch.manual_seed(3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        x = x + self.first(x)
        x = x + self.second(x)
        return self.out(x)


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
x, y = torch.randn(6, 4), torch.randn(6, 1)
for step in range(4):
    loss = (net(x) - y).pow(2).mean()
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    for parameter, gradient in zip(net.parameters(), gradients):
        parameter.grad = gradient
    optimizer.step()
"""


def test_gradients_that_are_returned_are_of_one_backward_pass(folder: Path) -> None:
    """Under a mode for functions `torch.autograd.grad` calls itself."""
    seen = watch(folder, BLOCKS)
    assert [len(entry["backward_values"]) for entry in seen.document["losses"]] == [1, 1, 1]
    assert seen.document["updates"][0]["raw_gradients"]["out.weight"] is not None


def test_a_fault_in_a_stream_of_residuals_is_met_once(folder: Path) -> None:
    """The sum around the second block takes what that block was to be fed, in training and in evaluation."""
    reference = watch(folder, BLOCKS, part="reference", dtype="float64")
    faulty = BLOCKS.replace("x = x + self.first(x)", "x = 3 * x + self.first(x)")
    (folder / "port.py").write_text(faulty)
    plan = plan_of(reference, folder, taken_again=("second",))
    steered = watch(folder, faulty, part="steered", dtype="float64", plan=str(plan))
    for calls in ("calls", "evaluation_calls"):
        documents = [
            seen.document[calls][0] if calls == "calls" else seen.document[calls] for seen in (steered, reference)
        ]
        apart = []
        for name in ("second", "out"):
            own, wanted = (
                seen.arrays[next(call for call in document if call["layer"] == name)["inputs"][0]]
                for seen, document in zip((steered, reference), documents, strict=True)
            )
            apart.append(not np.allclose(own, wanted, rtol=1e-12, atol=1e-12))
        assert apart == [True, False], calls


def test_a_parameter_that_a_layer_is_fed_by_a_view_is_left_as_it_is(folder: Path) -> None:
    """What is planned for the layer's input goes into no parameter's memory."""
    source = BLOCKS.replace(
        "self.first, self.second", "self.table = nn.Parameter(torch.ones(4, 6))\n        self.first, self.second"
    )
    source = source.replace("x = x + self.second(x)", "x = x + self.second(self.table.t())")
    reference = watch(folder, source, part="reference", dtype="float64")
    plan = plan_of(reference, folder, taken_again=("second",))
    document = json.loads((plan / "plan.json").read_text())
    for step in document["steps"]:
        step["parameters"].pop("table")
    (plan / "plan.json").write_text(json.dumps(document))
    (folder / "port.py").write_text(source.replace("torch.ones(4, 6)", "2 * torch.ones(4, 6)"))
    steered = watch(folder, source, part="steered", dtype="float64", plan=str(plan))
    assert np.all(steered.arrays[steered.document["updates"][0]["parameters_before"]["table"]] == 2)
    moved = steered.arrays[steered.document["updates"][0]["parameters_after"]["table"]]
    assert np.all(np.abs(moved - 2) < 0.5)
