from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from lightning_impl.backend import accelerator_of, current_device
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.configurations import READY
from lightning_impl.cuda_graph import check_graph_works
from lightning_impl.data import MnistDataModule
from lightning_impl.model import build_model
from lightning_impl.module import DigitClassifier
from lightning_impl.optimizer import KerasAdam
from lightning_impl.predicting import predict_images
from lightning_impl.recording import quiet_trainer, settings
from lightning_impl.weights import get_weights, set_weights
from recipe import Recipe
from recipe.dropout_masks import dropout_masks
from recipe.initial_weights import initial_weights
from tests.conftest import recipe_of


def test_network_computes_what_its_weights_say() -> None:
    recipe = Recipe(dtype="float64")
    weights = initial_weights(recipe)
    weights = {name: array + 0.01 * name.endswith("bias") for name, array in weights.items()}
    model = build_model(recipe)
    set_weights(model, weights)
    images = np.random.default_rng(0).random((5, 784))
    x = images
    for name in recipe.layer_names[:-1]:
        x = np.maximum(x @ weights[f"{name}.kernel"] + weights[f"{name}.bias"], 0)
    logits = x @ weights["output.kernel"] + weights["output.bias"]
    # Four sums of at most 784 products of numbers near 1, each rounded by 2^-53: 1e-13 at the most.
    assert np.abs(model(torch.from_numpy(images)).detach().numpy() - logits).max() <= 1e-13


@pytest.mark.parametrize(
    ("fields", "kind", "betas", "epsilon"),
    [
        ({}, KerasAdam, (0.9, 0.999), 1e-7),
        ({"dtype": "float64"}, KerasAdam, (0.8999999761581421, 0.9990000128746033), 1e-7),
        ({"preset": "native"}, torch.optim.Adam, (0.9, 0.999), 1e-8),
        ({"preset": "native", "epsilon": 1e-3, "beta_1": 0.5}, torch.optim.Adam, (0.5, 0.999), 1e-3),
    ],
)
def test_optimizer_is_the_recipes(
    fields: dict[str, object], kind: type, betas: tuple[float, float], epsilon: float
) -> None:
    optimizer = DigitClassifier(recipe_of(**fields, learning_rate=0.01)).configure_optimizers()
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.01, betas, epsilon)
    assert not group.get("weight_decay")
    assert sum(parameter.numel() for parameter in group["params"]) == 270_218


@pytest.mark.parametrize(
    ("device", "cuda", "accelerator"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("gpu", True, "cuda")],
)
def test_accelerator_is_cuda_or_the_cpu(
    monkeypatch: pytest.MonkeyPatch, device: str, cuda: bool, accelerator: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert accelerator_of(device) == accelerator


@pytest.mark.parametrize(("place", "device"), [("cpu", "cpu"), ("cuda:1", "gpu")])
def test_device_is_the_trainers(place: str, device: str) -> None:
    """The module's own is the CPU again when a training has ended."""
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(place)))
    assert current_device(trainer) == device


def test_settings_are_read_from_the_live_objects() -> None:
    recipe = Recipe(hidden_sizes=(3,), batch_size=30_000, epochs=1)
    trainer = quiet_trainer("cpu", Callback(), max_epochs=1, limit_val_batches=0)
    module = DigitClassifier(recipe)
    module.loss_function = torch.nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum")
    trainer.fit(module, MnistDataModule(recipe))
    found = settings(trainer, module)
    assert (found["loss.label_smoothing"], found["loss.reduction"]) == (0.1, "sum")
    assert (found["optimizer.name"], found["loss.name"]) == ("adam", "categorical cross-entropy")
    trainer.optimizers = [torch.optim.SGD(module.parameters())]
    another_loss = torch.nn.MSELoss()
    vars(another_loss)["label_smoothing"] = 0.0
    module.register_module("loss_function", another_loss)
    found = settings(trainer, module)
    assert (found["optimizer.name"], found["loss.name"]) == ("sgd", "MSELoss")


@pytest.mark.parametrize("world_size", [1, 3])
def test_masks_of_a_step_are_those_of_its_images(world_size: int) -> None:
    recipe = Recipe(dropout=0.5, batch_size=7000, hidden_sizes=(3, 2))
    module = DigitClassifier(recipe)
    for rank in range(world_size):
        module._trainer = SimpleNamespace(current_epoch=2, global_rank=rank, world_size=world_size)  # noqa: SLF001
        mine = slice(rank, 4000, world_size)  # as `TrainingBatches` shares the last batch
        images = torch.rand(len(range(4000)[mine]), 784)
        found = module.with_masks(images, 8)
        assert torch.equal(found[:, :784], images)
        assert np.array_equal(found[:, 784:].numpy(), dropout_masks(recipe, 2, 56_000, 60_000)[mine])


@pytest.mark.parametrize("preset", ["aligned", "native"])
def test_convolutions_do_without_tf32_where_precision_is_shared(monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    DigitClassifier(recipe_of(network="cnn", preset=preset)).setup("fit")
    assert torch.backends.cudnn.allow_tf32 == (preset == "native")


@pytest.mark.parametrize("fields", [{}, {"dropout_masks": "framework"}])
def test_nothing_is_dropped_but_in_training(fields: dict[str, Any]) -> None:
    recipe = Recipe(dropout=0.9, hidden_sizes=(50,), **fields)
    plain, module = DigitClassifier(Recipe(hidden_sizes=(50,))).eval(), DigitClassifier(recipe).eval()
    images = torch.rand(4, 784)
    assert torch.equal(module(images), plain(images))
    predicted = predict_images(recipe, get_weights(module.model), np.zeros((4, 28, 28), np.uint8))
    assert np.array_equal(predicted, plain(torch.zeros(4, 784)).softmax(dim=1).detach().numpy())


@pytest.mark.parametrize(("batch_size", "index", "expected"), [(32, 1874, 32), (7000, 0, 7000), (7000, 8, 4000)])
def test_last_batch_has_the_images_that_are_left(batch_size: int, index: int, expected: int) -> None:
    assert DigitClassifier(Recipe(batch_size=batch_size)).global_batch_size(index) == expected


def graphed(place: str = "cuda:0", world_size: int = 1, precision: str = "32-true", *, single: bool = False) -> Any:
    """What `check_graph_works` looks at of a module."""
    strategy = SimpleNamespace(root_device=torch.device(place))
    trainer = SimpleNamespace(strategy=strategy, world_size=world_size, precision=precision)
    return SimpleNamespace(trainer=trainer, automatic_optimization=single)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (graphed("cpu"), "it needs a GPU"),
        (graphed("mps"), "it needs a GPU"),
        (graphed(world_size=2), "it works on one device"),
        (graphed(precision="16-mixed"), "it works without automatic mixed precision"),
        (graphed(single=True), "it needs blocks of steps, and there is a clock"),
    ],
    ids=["cpu", "mps", "several", "mixed", "single"],
)
def test_cuda_graph_is_refused_where_it_cannot_be(module: Any, words: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"cuda_graph cannot be used: {words}"):
        check_graph_works(module, "a clock")


def test_cuda_graph_is_off_and_says_that_it_was_not_tried() -> None:
    assert not BlockDigitClassifier(Recipe()).cuda_graph
    assert not any("cuda_graph: true" in path.read_text() for path in READY.values())
    with pytest.warns(UserWarning, match="cuda_graph has not run on a GPU yet"):
        check_graph_works(graphed(), None)
