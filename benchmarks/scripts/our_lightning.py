"""The project's Lightning epoch as it runs: Lightning's progress bar, logger, validation and checkpoints on."""

import tempfile

import lightning
import torch

from benchmarks.scripts.clock import report
from benchmarks.scripts.lightning_clock import EpochClock
from benchmarks.scripts.our_options import our_options, recipe_of
from lightning_impl.blocks import STEPS_PER_EXECUTION, BlockDigitClassifier
from lightning_impl.data import MnistDataModule


def main() -> None:
    """What `mnist-lightning fit` does, with a clock."""
    parser = our_options(__doc__)
    parser.add_argument("--steps-per-execution", type=int, default=STEPS_PER_EXECUTION)
    arguments = parser.parse_args()
    recipe = recipe_of(arguments)
    clock = EpochClock()
    with tempfile.TemporaryDirectory() as root:
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            accelerator=arguments.device,
            default_root_dir=root,
            callbacks=[clock],
            use_distributed_sampler=False,
        )
        trainer.fit(BlockDigitClassifier(recipe, arguments.steps_per_execution), MnistDataModule(recipe))
    report(clock.clock, device=arguments.device, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
