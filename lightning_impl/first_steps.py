"""The first steps of a Lightning run, each number of them, watched from callbacks of the live Trainer."""

from collections.abc import Iterator
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from lightning_impl import backend
from lightning_impl.data import MnistDataModule
from lightning_impl.dropout import SharedDropout
from lightning_impl.module import DigitClassifier
from lightning_impl.recording import VERSIONS, quiet_trainer, settings
from lightning_impl.weights import canonical_activation, get_weights, to_canonical
from recipe import Recipe
from recipe.initial_weights import Weights
from record.first_steps import Step, Trace, hash_batches, num_traced_steps
from record.worker import versions


def trace(recipe: Recipe, *, accelerator: str) -> Trace:
    """Takes the first steps of the training that the recipe describes."""
    watcher = Watcher()
    trainer = quiet_trainer(accelerator, watcher, max_steps=num_traced_steps(recipe), limit_val_batches=0)
    module, digits = DigitClassifier(recipe), MnistDataModule(recipe)
    initial_weights = get_weights(module.model)
    trainer.fit(module, digits)
    device = module.device.type
    return Trace(
        recipe=recipe,
        framework="lightning",
        versions=versions(*VERSIONS),
        backend="torch",
        device="cpu" if device == "cpu" else "gpu",
        threads=backend.num_threads(),
        settings=settings(trainer, module) | {"epochs": recipe.epochs},
        batch_hashes=_hash_epochs(digits),
        initial_weights=initial_weights,
        steps=watcher.steps,
    )


class Watcher(Callback):
    """Collects the numbers of each step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._preactivations: Weights = {}
        self._activations: Weights = {}
        self._dropped: Weights = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Hooks onto the network's layers."""
        for name, layer in pl_module.model.named_children():
            layer.register_forward_hook(lambda layer, _, output, name=name: self._keep(name, layer, output))

    def _keep(self, name: str, layer: nn.Module, output: Tensor) -> None:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            self._preactivations[name] = canonical_activation(output)
            if name == "output":
                self._activations[name] = canonical_activation(output.softmax(dim=1))
        elif isinstance(layer, nn.ReLU):
            self._activations[name.removesuffix("_activation")] = canonical_activation(output)
        elif isinstance(layer, nn.Dropout | SharedDropout):
            self._dropped[name.removesuffix("_dropout")] = canonical_activation(output)

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Keeps the gradients."""
        self._gradients = to_canonical(pl_module.model, lambda parameter: parameter.grad)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps what the step left."""
        images, labels = batch
        state = trainer.optimizers[0].state
        self.steps.append(
            Step(
                images=images.cpu().numpy(),
                labels=labels.cpu().numpy(),
                preactivations=dict(self._preactivations),
                activations=dict(self._activations),
                dropped=dict(self._dropped),
                loss=outputs["loss"].item(),
                gradients=self._gradients,
                parameters=get_weights(pl_module.model),
                first_moments=to_canonical(pl_module.model, lambda parameter: state[parameter]["exp_avg"]),
                second_moments=to_canonical(pl_module.model, lambda parameter: state[parameter]["exp_avg_sq"]),
            )
        )


def _hash_epochs(digits: MnistDataModule) -> list[str]:
    """The hashes of the first epoch's batches and of the second's first."""
    loader: Any = digits.train_dataloader()
    hashes: list[str] = []
    for epoch in (0, 1):
        loader.batch_sampler.set_epoch(epoch)
        batches: Iterator[Any] = ((images.cpu().numpy(), labels.cpu().numpy()) for images, labels in loader)
        hashes += hash_batches(batches if epoch == 0 else [next(batches)], keep=0)[0]
    return hashes
