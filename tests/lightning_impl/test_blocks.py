"""Blocks of optimizer steps give the same bits as single steps, whatever else is combined with them."""

import math
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.data import MnistDataModule, preprocess
from lightning_impl.weights import get_weights
from recipe import Recipe, datasets
from tests.conftest import SMALL, recipe_of, run_python

# 118 steps an epoch, the last batch smaller; two epochs, with a validation between them.
RECIPE = Recipe(batch_size=512, epochs=2, hidden_sizes=(32, 16))


class History(Callback):
    def __init__(self) -> None:
        self.step_losses: list[torch.Tensor] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.step_losses.append(torch.stack(pl_module.step_losses))
        logged = {**trainer.callback_metrics, **pl_module.training_metrics().compute()}
        self.epochs.append({name: value.item() for name, value in logged.items()})


class Listener(Callback):
    """Looks at the gradients of every step."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_after_backward(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.calls.append("backward")

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        assert all(parameter.grad is not None for parameter in pl_module.parameters())
        self.calls.append("step")


def fitted(
    recipe: Recipe, steps: int, *callbacks: Callback, **options: Any
) -> tuple[BlockDigitClassifier, History, lightning.Trainer]:
    torch.set_num_threads(1)
    history = History()
    trainer = lightning.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": recipe.epochs,
            "logger": False,
            "enable_checkpointing": False,
            **options,
        },
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[history, *callbacks],
    )
    module = BlockDigitClassifier(recipe, steps_per_execution=steps)
    trainer.fit(module, MnistDataModule(recipe))
    return module, history, trainer


@pytest.mark.parametrize("steps", [7, 118, 125])
@pytest.mark.parametrize("fields", [{}, {"dtype": "float64"}, {"preset": "native"}, {"hidden_sizes": ()}], ids=str)
def test_blocks_change_no_bit(fields: dict[str, Any], steps: int) -> None:
    recipe = recipe_of(**{"batch_size": 512, "epochs": 2, "hidden_sizes": (32, 16), **fields})
    single, single_history, single_trainer = fitted(recipe, 1)
    block, block_history, block_trainer = fitted(recipe, steps)
    assert torch.equal(torch.cat(single_history.step_losses), torch.cat(block_history.step_losses))
    assert single_history.epochs == block_history.epochs
    for (name, parameter), other in zip(single.named_parameters(), block.parameters(), strict=True):
        assert torch.equal(parameter, other), name
    assert single_trainer.global_step == block_trainer.global_step == 2 * 118
    assert block.dense_gradients is not None  # else nothing but autograd was tested


def test_callback_that_looks_at_every_step_hears_of_each() -> None:
    fast, _, _ = fitted(RECIPE, 25)
    listener = Listener()
    heard, _, trainer = fitted(RECIPE, 25, listener)
    assert listener.calls == ["backward", "step"] * 2 * 118
    assert trainer.global_step == 2 * 118
    assert all(torch.equal(a, b) for a, b in zip(fast.parameters(), heard.parameters(), strict=True))


@pytest.mark.parametrize("steps", [7, 16, 125])
@pytest.mark.parametrize(
    "fields",
    [
        {"network": "cnn"},
        {"network": "cnn", "dtype": "float64", "hidden_sizes": ()},
        {"dropout": 0.2},
        {"network": "cnn", "dropout": 0.2, "preset": "native"},
    ],
    ids=str,
)
def test_blocks_change_no_bit_of_convolutions_and_dropout(own_data: str, fields: dict[str, Any], steps: int) -> None:
    recipe = recipe_of(**{**SMALL, "dataset": own_data, **fields})
    single, single_history, _ = fitted(recipe, 1)
    block, block_history, block_trainer = fitted(recipe, steps)
    assert torch.equal(torch.cat(single_history.step_losses), torch.cat(block_history.step_losses))
    assert single_history.epochs == block_history.epochs
    assert all(torch.equal(a, b) for a, b in zip(single.parameters(), block.parameters(), strict=True))
    assert block_trainer.global_step == 3 * 16


@pytest.mark.parametrize("masks", ["shared", "framework"])
def test_validation_drops_nothing(own_data: str, masks: str) -> None:
    recipe = recipe_of(**SMALL, dataset=own_data, dropout=0.9, dropout_masks=masks, dtype="float64")
    module, history, _ = fitted(recipe, 16)
    digits = datasets.load(recipe)
    images, labels = preprocess(digits.x_test, digits.y_test, recipe)
    weights = get_weights(module.model)
    x = images.numpy()
    for name in recipe.hidden_names:
        x = np.maximum(x @ weights[f"{name}.kernel"] + weights[f"{name}.bias"], 0)
    logits = x @ weights["output.kernel"] + weights["output.bias"]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels.numpy()]
    # Sums of 168, 16 and 12 float64 products; Lightning logs in float32.
    assert math.isclose(history.epochs[-1]["val_loss"], losses.mean(), rel_tol=2.0**-20)


def test_blocks_follow_single_steps_in_bfloat16() -> None:
    single, _, _ = fitted(RECIPE, 1, precision="bf16-mixed")
    block, _, _ = fitted(RECIPE, 25, precision="bf16-mixed")
    assert all(torch.equal(a, b) for a, b in zip(single.parameters(), block.parameters(), strict=True))


@pytest.mark.parametrize("fields", [None, {"network": "cnn"}, {"dropout_masks": "framework"}], ids=str)
def test_blocks_resume_from_a_checkpoint(tmp_path: Path, own_data: str, fields: dict[str, Any] | None) -> None:
    recipe = RECIPE if fields is None else recipe_of(**{**SMALL, **fields}, dataset=own_data, dropout=0.2)
    whole, _, _ = fitted(recipe, 25)
    _, _, trainer = fitted(recipe, 25, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt")
    resumed = BlockDigitClassifier(recipe, steps_per_execution=25)
    lightning.Trainer(
        accelerator="cpu",
        max_epochs=recipe.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    ).fit(resumed, MnistDataModule(recipe), ckpt_path=str(tmp_path / "epoch.ckpt"), weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("options", [{"gradient_clip_val": 1.0}, {"accumulate_grad_batches": 2}], ids=str)
def test_what_needs_automatic_optimization_says_so(options: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match=r"set --model\.steps_per_execution 1"):
        fitted(RECIPE, 25, **options)
    fitted(RECIPE, 1, **options)


TWO_PROCESSES = """
import sys
import lightning
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning_impl.blocks import BlockDigitClassifier
from lightning_impl.data import MnistDataModule
from recipe import Recipe
from recipe.datasets import with_images

messages = 0

def counted(state, bucket):  # runs once for each bucket that DDP itself reduces
    global messages
    messages += 1
    return dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future().then(lambda sent: sent.value()[0])

class Hook(Callback):
    takes_blocks = True

    def on_train_start(self, trainer, module):
        trainer.strategy.model.register_comm_hook(None, counted)

if __name__ == "__main__":
    # By autograd, as on a GPU: a cnn.
    small = dict(filters=(2, 2), hidden_sizes=(4,), epochs=1, batch_size=20)
    recipe = with_images(Recipe(network="cnn", dataset=sys.argv[1], **small))
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = lightning.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, callbacks=[Hook()],
        use_distributed_sampler=False, num_sanity_val_steps=0, **quiet)
    trainer.fit(BlockDigitClassifier(recipe, steps_per_execution=5), MnistDataModule(recipe))
    assert messages == 0, messages
"""


def test_gradients_of_a_block_are_sent_once(own_data: str, tmp_path: Path) -> None:
    """The module averages them itself: DDP sends none, in the first block and in those after it."""
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    process = run_python("train.py", own_data, cwd=tmp_path)
    assert process.returncode == 0, process.stderr[-2000:]
