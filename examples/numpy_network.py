"""A third implementation, from `docs/run-record.md`: the network, its gradients and Adam in plain NumPy."""
# ruff: noqa: ANN001, ANN201, ANN204, D102, D103 - one page, whose names say what it does

import argparse
import os
import time

import numpy as np

from recipe import RecipeError, datasets
from recipe.batch_order import epoch_order
from recipe.initial_weights import initial_weights
from record.first_steps import Step, Trace, hash_batches, num_traced_steps, write_trace
from record.training import HISTORY_KEYS, RunRecord, Status, TestResults, write_training
from record.worker import Progress, main, peak_memory_bytes, versions


class Network:
    """Dense layers with ReLU, then a softmax, trained by Adam; every array has the recipe's dtype."""

    def __init__(self, recipe, digits):
        self.recipe, self.digits, self.real = recipe, digits, np.dtype(recipe.dtype).type
        self.parameters, self.num_steps = initial_weights(recipe), 0
        self.first_moments = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        self.second_moments = dict(self.first_moments)

    def pixels(self, images):
        return images.reshape(len(images), -1).astype(self.real) / self.real(255)

    def batches(self, epoch):
        order, size = epoch_order(self.recipe.seed, epoch, len(self.digits.x_train)), self.recipe.batch_size
        for batch in np.split(order, range(size, len(order), size)):
            yield self.pixels(self.digits.x_train[batch]), self.digits.y_train[batch].astype(np.int64)

    def activate(self, layer, z):
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True) if layer == "output" else np.maximum(z, 0)

    def loss(self, logits, labels):
        z = logits - logits.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[range(len(labels)), labels]).mean())

    def forward(self, images, labels):
        z, activations, tensor = {}, {}, images
        for layer in self.recipe.layer_names:
            z[layer] = tensor @ self.parameters[f"{layer}.kernel"] + self.parameters[f"{layer}.bias"]
            activations[layer] = tensor = self.activate(layer, z[layer])
        return {"preactivations": z, "activations": activations, "loss": self.loss(z["output"], labels)}

    def backward(self, images, labels, activations):
        inputs, gradients = dict(zip(activations, [images, *activations.values()], strict=False)), {}
        delta = activations["output"] - (labels[:, None] == range(self.recipe.images.num_classes))
        for layer in reversed(inputs):
            gradients = {f"{layer}.kernel": inputs[layer].T @ delta, f"{layer}.bias": delta.sum(axis=0), **gradients}
            delta = (delta @ self.parameters[f"{layer}.kernel"].T) * (inputs[layer] > 0)
        return {name: g / self.real(len(labels)) for name, g in gradients.items()}

    def adam(self, gradients):
        self.num_steps += 1
        beta_1, beta_2 = self.recipe.adam_betas
        power_1, power_2 = (self.real(beta) ** self.real(self.num_steps) for beta in (beta_1, beta_2))
        alpha = self.real(self.recipe.learning_rate) * np.sqrt(1 - power_2) / (1 - power_1)
        for name, g in gradients.items():
            self.first_moments[name] = m = beta_1 * self.first_moments[name] + (1 - beta_1) * g
            self.second_moments[name] = v = beta_2 * self.second_moments[name] + (1 - beta_2) * g * g
            self.parameters[name] = self.parameters[name] - alpha * m / (np.sqrt(v) + (self.recipe.epsilon or 1e-7))

    def take_step(self, images, labels):
        passed = self.forward(images, labels)
        self.adam(gradients := self.backward(images, labels, passed["activations"]))
        state = {key: dict(getattr(self, key)) for key in ("parameters", "first_moments", "second_moments")}
        return Step(images=images, labels=labels, gradients=gradients, **passed, **state)

    def trace(self):
        hashes, batches = hash_batches(self.batches(epoch=0), keep=num_traced_steps(self.recipe))
        hashes += hash_batches([next(self.batches(epoch=1))], keep=0)[0]
        before, steps = dict(self.parameters), [self.take_step(*batch) for batch in batches]
        return {"batch_hashes": hashes, "initial_weights": before, "steps": steps}

    def train(self):
        losses, rows, status, num_images = [], [], Status("finished"), len(self.digits.x_train)
        progress = Progress(self.recipe.epochs, steps_per_epoch=-(-num_images // self.recipe.batch_size))
        for epoch in range(self.recipe.epochs):
            began, sums = time.perf_counter(), np.zeros(2)
            for number, (images, labels) in enumerate(self.batches(epoch), 1):
                step = self.take_step(images, labels)
                losses.append(step.loss)
                sums += step.loss * len(labels), (step.activations["output"].argmax(axis=1) == labels).sum()
                progress.step(epoch, number)
            passed = self.forward(self.pixels(self.digits.x_test), self.digits.y_test)
            found = passed["activations"]["output"]
            test = TestResults(passed["loss"], (found.argmax(axis=1) == self.digits.y_test).mean(), found)
            if not (finite := np.isfinite([*losses, test.loss])).all():
                losses, test = losses[: finite.argmin() + 1], None
                status = Status("diverged", epoch + 1, len(losses))
                break
            row = (*sums / num_images, test.loss, test.accuracy, time.perf_counter() - began)
            rows.append(dict(zip(HISTORY_KEYS, row, strict=True)))
            progress.epoch(epoch, rows[-1])
        found = {"history": {key: [row[key] for row in rows] for key in HISTORY_KEYS}, "status": status, "test": test}
        found |= {"step_losses": np.array(losses, self.real), "weights": self.parameters}
        return {"seconds": sum(found["history"]["seconds"]), "peak_memory_bytes": peak_memory_bytes(), **found}


def work(recipe, run_directory, options):
    if recipe.network != "dense" or recipe.dropout:
        raise RecipeError("this program knows neither cnn nor dropout: ask for recipe.network dense and dropout 0")
    network = Network(recipe, datasets.load(recipe))
    stated = {"optimizer.learning_rate": recipe.learning_rate, "loss.takes": "logits", "dtype": recipe.dtype}
    header = {"framework": "numpy", "versions": versions("numpy"), "backend": "numpy", "device": "cpu"}
    header |= {"recipe": recipe, "settings": stated, "threads": int(os.environ.get("OMP_NUM_THREADS", "1"))}
    if options.trace:
        write_trace(run_directory, Trace(**network.trace(), **header))
    else:
        write_training(run_directory, RunRecord(**network.train(), **header))


if __name__ == "__main__":
    main(work, argparse.ArgumentParser(description=__doc__))
