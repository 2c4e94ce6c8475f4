"""The fast path on TensorFlow: a block of steps in one loop of the graph, with the bits of Keras's own loop.

Lightning knows no blocks, so that there one is a batch to it; here Keras counts steps and calls callbacks as ever.
"""

from collections.abc import Callable
from typing import Any

import keras

StepNumber = Any
"""The number of a step in its epoch, from 0: an int32 scalar of TensorFlow."""


def block_function(model: keras.Model, batch: Callable[[StepNumber], Any], num_steps: int) -> Callable[[int], Any]:
    """What takes the steps of one execution, by the number of its first, and returns the metrics after them.

    Keras's own loop of an execution asks tf.data for every batch, which gathers it in a thread of its own. Here the
    loop gathers it.

    Args:
        model: A compiled model, on TensorFlow; its own `train_step` takes each step.
        batch: Gathers the images and labels of a step inside the graph.
        num_steps: Steps in an epoch; the last execution may have fewer than `model.steps_per_execution`.
    """
    import tensorflow as tf

    train_step = model.train_step
    if model.jit_compile:
        train_step = tf.function(train_step, autograph=False, jit_compile=True)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def block(first: StepNumber, stop: StepNumber) -> Any:
        def take_step(step: StepNumber) -> StepNumber:
            train_step(batch(step))
            return step + 1

        tf.while_loop(lambda step: step < stop, take_step, [first], parallel_iterations=1)
        return model.get_metrics_result()

    def take_block(first: int) -> Any:
        return block(tf.constant(first), tf.constant(min(first + model.steps_per_execution, num_steps)))

    return take_block
