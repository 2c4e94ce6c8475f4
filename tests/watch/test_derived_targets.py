"""Targets that a script changes before they meet the outputs: the batch's own are kept and replaced."""

from pathlib import Path

import numpy as np
import pytest

from tests.watch.test_torch_script import folder, plan_of, watch

__all__ = ["folder"]

SCRIPT = """
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x, labels = torch.randn(3, 8, 4), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    for batch in x:
        y = labels.clone()
        out = net(batch)
        loss = LOSS
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


@pytest.mark.parametrize(
    "loss",
    [
        "((1 - y) * out[:, 0] ** 2 + y * out[:, 1]).mean()",
        "(y * out[:, 1] + other * out[:, 0] ** 2).mean() if (other := 1 - y) is not None else 0",
        "(F.one_hot(y, 2).float() - out).pow(2).mean() + torch.where((y == 1)[:, None], out, -out).mean()",
        "-((y.float() * 2 - 1)[:, None] * out).mean() + (y * out[:, 0]).mean()",
    ],
)
def test_the_labels_themselves_are_the_target_whatever_is_made_of_them(folder: Path, loss: str) -> None:
    source = SCRIPT.replace("LOSS", loss)
    own = watch(folder, source, part="own", dtype="float64")
    labels = [own.arrays[key] for key in own.document["fed"][0]["targets"]]
    assert [found.tolist() for found in labels] == [[0, 1, 1, 0, 1, 0, 0, 1]]
    (folder / "port.py").unlink()
    reversed_labels = source.replace("[0, 1, 1, 0, 1, 0, 0, 1]", "[1, 0, 0, 1, 0, 1, 1, 0]")
    steered = watch(folder, reversed_labels, part="steered", dtype="float64", plan=str(plan_of(own, folder)))
    values = [[loss["value"] for loss in seen.document["losses"]] for seen in (own, steered)]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-12)


def test_what_was_changed_in_place_is_a_target_of_its_own(folder: Path) -> None:
    loss = "(other * out[:, 0]).mean() if (other := (1 - y).mul_(3)) is not None else 0"
    seen = watch(folder, SCRIPT.replace("LOSS", loss), dtype="float64")
    (target,) = (seen.arrays[key] for key in seen.document["fed"][0]["targets"])
    assert target.tolist() == [3, 0, 0, 3, 0, 3, 3, 0]
