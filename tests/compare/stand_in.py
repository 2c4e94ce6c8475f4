"""An implementation of the contract that takes no time: canned records, and every way to break the contract.

`python stand_in.py [--mode MODE] [--seed SEED] RECIPE.json RUN_DIR [--trace]`
"""

import argparse
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np

from recipe import Recipe
from recipe.errors import errors_are_one_line
from recipe.initial_weights import initial_weights
from record.files import new_record, write_json
from record.first_steps import Step, Trace, num_traced_steps, write_trace
from record.training import Status
from tests.conftest import write_canned

parser = argparse.ArgumentParser()
parser.add_argument("--mode", default="good")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("recipe", type=Path)
parser.add_argument("run_directory", type=Path)
parser.add_argument("--trace", action="store_true")
options = parser.parse_args()
recipe = Recipe.from_json(options.recipe.read_text())
random = np.random.default_rng(options.seed)


def canned_trace() -> Trace:
    weights = initial_weights(recipe)
    images = random.random((4, 784)).astype(recipe.dtype)
    units = {name: weights[f"{name}.bias"].size for name in recipe.layer_names}
    layers = {name: random.random((4, size)).astype(recipe.dtype) for name, size in units.items()}
    step = Step(
        images=images,
        labels=np.arange(4),
        preactivations=layers,
        activations=layers,
        loss=2.3,
        gradients=weights,
        parameters=weights,
        first_moments=weights,
        second_moments=weights,
    )
    return Trace(
        recipe=recipe,
        framework="numpy",
        versions={"numpy": "2"},
        backend="none",
        device="cpu",
        threads=1,
        settings={},
        batch_hashes=["first", "second"],
        initial_weights=weights,
        steps=[step] * num_traced_steps(recipe),
    )


def train(mode: str) -> None:
    if mode in ("good", "no-trace"):
        print(json.dumps({"progress": {"epoch": 1, "epochs": recipe.epochs, "fraction": 0.5, "loss": 1.0}}))
        print('{"progress": "broken"}')
        write_canned(options.run_directory, recipe)
    elif mode == "another":
        write_canned(options.run_directory, dataclasses.replace(recipe, hidden_sizes=(*recipe.hidden_sizes, 3)))
    elif mode == "faster":
        write_canned(options.run_directory, dataclasses.replace(recipe, learning_rate=2 * recipe.learning_rate))
    elif mode == "diverge":
        history = {key: [] for key in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")}
        losses = np.array([2, np.inf], recipe.dtype)
        status = Status("diverged", 1, 2)
        write_canned(options.run_directory, recipe, history=history, test=None, status=status, step_losses=losses)
    elif mode == "invalid":
        write_canned(options.run_directory, recipe)
        (options.run_directory / "weights.safetensors").unlink()
    elif mode in ("hang", "hang-uninterrupted"):
        # Either of the two signals alone ends it: the interrupt of a terminal, or compare's own SIGTERM.
        signal.signal(signal.SIGTERM if mode == "hang" else signal.SIGINT, signal.SIG_IGN)
        with new_record(options.run_directory) as partial:
            write_json(partial / "record.json", {})
            time.sleep(120)
    else:
        assert mode == "nothing"


with options.recipe.with_name("started.txt").open("a") as started:
    started.write(f"{options.run_directory.name}\n")
print("a line for the log")
if recipe.perturbation and options.recipe.with_name("no-controls").exists():
    sys.exit("no control today")
if options.trace and options.mode == "no-trace":
    sys.exit("what is --trace?")
if options.mode == "fail" and not options.trace:
    sys.exit("out of ideas")
if options.mode == "refuse" and not options.trace:
    print("error: the moon is not full", file=sys.stderr)
    sys.exit(2)
with errors_are_one_line():  # as every worker of ours ends where the disk is full
    if options.trace:
        write_trace(options.run_directory, canned_trace())
    else:
        train(options.mode)
