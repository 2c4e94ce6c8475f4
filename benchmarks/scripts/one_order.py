"""`python -m benchmarks.scripts.one_order RECIPE.json RUN_DIR`: our Keras with one order of images for all epochs.

What that costs, a study says, which takes it for an implementation like any other:

    mnist-compare study --variants "[aligned]" --implementation one_order="python -m benchmarks.scripts.one_order"
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from recipe import batch_order
from record.worker import main

order_of = batch_order.epoch_order


def epoch_order(seed: int, epoch: int, num_images: int) -> NDArray[np.int32]:  # noqa: ARG001 - that is the point
    """The order of the first epoch, in every epoch."""
    return order_of(seed, 0, num_images)


batch_order.epoch_order = epoch_order

# Imported only now: these modules bind the function when they are imported.
from keras_impl.worker import add_device_options, work  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scripts.one_order", description=__doc__)
    add_device_options(parser)
    main(work, parser)
