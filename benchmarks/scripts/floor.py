"""The floor: this network's matrix products and Adam updates, and nothing else, for as many steps as an epoch has."""

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.scripts.clock import Clock, options, report
from benchmarks.scripts.lightning_clock import synchronize
from recipe import Recipe
from recipe.initial_weights import weight_shapes
from recipe.mnist import NUM_CLASSES, NUM_PIXELS, NUM_TRAINING_IMAGES

RECIPE = Recipe()
NUM_STEPS = NUM_TRAINING_IMAGES // RECIPE.batch_size
TRIALS = 200

Call = Callable[[], object]


def main() -> None:
    """Finds the fastest layout of every product, then runs them all."""
    arguments = options(__doc__).parse_args()
    torch.set_flush_denormal(True)
    device = torch.device("cuda" if arguments.device == "gpu" else "cpu")
    sizes = (NUM_PIXELS, *RECIPE.hidden_sizes, NUM_CLASSES)
    calls: list[Call] = []
    for layer, (inputs, units) in enumerate(pairwise(sizes)):
        calls.append(fastest_product(RECIPE.batch_size, inputs, units, device))  # forward
        calls.append(fastest_product(inputs, RECIPE.batch_size, units, device))  # gradient of the kernel
        if layer > 0:
            calls.append(fastest_product(RECIPE.batch_size, units, inputs, device))  # gradient of the layer's input
    calls.append(adam_update(device))

    clock = Clock(synchronize)
    for _ in range(arguments.epochs):
        clock.start_epoch()
        for _ in range(NUM_STEPS):
            for call in calls:
                call()
        clock.end_epoch()
    report(clock, device=arguments.device)


def fastest_product(rows: int, inner: int, columns: int, device: torch.device) -> Call:
    """(rows, inner) times (inner, columns), each of the three stored in the order that takes the shortest."""
    candidates = [
        product(matrix(rows, inner, a, device), matrix(inner, columns, b, device), matrix(rows, columns, c, device))
        for a in (False, True)
        for b in (False, True)
        for c in (False, True)
    ]
    return min(candidates, key=seconds)


def matrix(rows: int, columns: int, transposed: bool, device: torch.device) -> Tensor:
    """Random numbers, shape (rows, columns), stored by rows or, transposed, by columns."""
    return torch.rand(columns, rows, device=device).T if transposed else torch.rand(rows, columns, device=device)


def product(left: Tensor, right: Tensor, out: Tensor) -> Call:
    """A matrix product into memory that is there already."""
    return lambda: torch.mm(left, right, out=out)


def adam_update(device: torch.device) -> Call:
    """One fused Adam update of all parameters, as one array: the kernel, without the optimizer around it."""
    num_parameters = sum(math.prod(shape) for shape in weight_shapes(RECIPE).values())
    parameter, gradient, exp_avg, exp_avg_sq = (torch.rand(num_parameters, device=device) for _ in range(4))
    step = torch.tensor(1.0, device=device)
    beta_1, beta_2 = RECIPE.adam_betas
    assert RECIPE.epsilon is not None  # noqa: S101 - the recipe fills it in
    return partial(
        torch._fused_adam_,
        *([parameter], [gradient], [exp_avg], [exp_avg_sq], [], [step]),
        lr=RECIPE.learning_rate,
        beta1=beta_1,
        beta2=beta_2,
        weight_decay=0.0,
        eps=RECIPE.epsilon,
        amsgrad=False,
        maximize=False,
    )


def seconds(call: Call) -> float:
    """The shortest of a few runs of TRIALS calls."""
    runs = []
    for _ in range(3):
        synchronize()
        start = time.perf_counter()
        for _ in range(TRIALS):
            call()
        synchronize()
        runs.append(time.perf_counter() - start)
    return min(runs)


if __name__ == "__main__":
    main()
