"""The recipe's arithmetic as a jitted JAX `scan`: a whole epoch is one call, compiled before the clock starts."""

import os
import time
from functools import partial
from typing import Any

if threads := os.environ.get("OMP_NUM_THREADS"):
    # XLA's pool of CPU threads heeds this variable alone; without it one thread would be all cores.
    os.environ["NPROC"] = threads

import jax
import jax.numpy as jnp

from benchmarks.scripts.clock import Clock, options, report
from recipe import Recipe, mnist
from recipe.batch_order import epoch_order
from recipe.initial_weights import initial_weights

RECIPE = Recipe()
assert RECIPE.epsilon is not None  # noqa: S101 - the recipe fills it in

Layers = list[tuple[jax.Array, jax.Array]]
State = tuple[Layers, Layers, Layers, jax.Array]
"""Parameters, Adam's two moments and the number of steps."""


def logits_of(layers: Layers, x: jax.Array) -> jax.Array:
    """Images, shape (batch, 784), to logits, shape (batch, 10)."""
    *hidden, (kernel, bias) = layers
    for hidden_kernel, hidden_bias in hidden:
        x = jax.nn.relu(x @ hidden_kernel + hidden_bias)
    return x @ kernel + bias


def mean_loss(layers: Layers, x: jax.Array, y: jax.Array) -> jax.Array:
    """The categorical cross-entropy of a batch."""
    logits = logits_of(layers, x)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0])


def adam(state: State, gradients: Layers) -> State:
    """One step of Adam, by Keras's formula."""
    layers, m, v, step = state
    step += 1
    t = step.astype("float32")
    alpha = RECIPE.learning_rate * jnp.sqrt(1 - RECIPE.beta_2**t) / (1 - RECIPE.beta_1**t)
    m = jax.tree.map(lambda m, g: m + (g - m) * (1 - RECIPE.beta_1), m, gradients)
    v = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - RECIPE.beta_2), v, gradients)
    layers = jax.tree.map(lambda p, m, v: p - m * alpha / (jnp.sqrt(v) + RECIPE.epsilon), layers, m, v)
    return layers, m, v, step


@partial(jax.jit, donate_argnums=0)
def train_epoch(state: State, x: jax.Array, y: jax.Array, order: jax.Array) -> tuple[State, jax.Array]:
    """All steps of an epoch, `order` of shape (steps, batch); also their losses."""

    def step(state: State, indices: jax.Array) -> tuple[State, jax.Array]:
        loss, gradients = jax.value_and_grad(mean_loss)(state[0], x[indices], y[indices])
        return adam(state, gradients), loss

    return jax.lax.scan(step, state, order)


@partial(jax.jit)
def evaluate(layers: Layers, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean loss and accuracy."""
    return mean_loss(layers, x, y), jnp.mean(logits_of(layers, x).argmax(axis=1) == y)


def main() -> None:
    """Loads, compiles, trains and validates."""
    arguments = options(__doc__).parse_args()
    digits = mnist.load()
    x_train, x_test = (jnp.asarray(x.reshape(-1, 784) / 255, "float32") for x in (digits.x_train, digits.x_test))
    y_train, y_test = (jnp.asarray(y, "int32") for y in (digits.y_train, digits.y_test))

    weights: Any = {name: jnp.asarray(array) for name, array in initial_weights(RECIPE).items()}
    layers = [(weights[f"{name}.kernel"], weights[f"{name}.bias"]) for name in RECIPE.layer_names]
    state: State = (layers, jax.tree.map(jnp.zeros_like, layers), jax.tree.map(jnp.zeros_like, layers), jnp.int32(0))

    orders = [
        jnp.asarray(epoch_order(RECIPE.seed, epoch, len(x_train)).reshape(-1, RECIPE.batch_size))
        for epoch in range(arguments.epochs)
    ]
    start = time.perf_counter()
    train = train_epoch.lower(state, x_train, y_train, orders[0]).compile()
    validate = evaluate.lower(layers, x_test, y_test).compile()
    compile_seconds = time.perf_counter() - start

    clock = Clock(lambda: jax.block_until_ready(state))
    for order in orders:
        clock.start_epoch()
        state, losses = train(state, x_train, y_train, order)
        clock.start_validation()
        val_loss, val_accuracy = validate(state[0], x_test, y_test)
        line = f"loss {losses.mean():.4f}, val_loss {val_loss:.4f}, val_accuracy {val_accuracy:.2%}"
        clock.end_validation()
        clock.end_epoch()
        print(line)
    report(clock, device=jax.default_backend(), compile_seconds=compile_seconds)


if __name__ == "__main__":
    main()
