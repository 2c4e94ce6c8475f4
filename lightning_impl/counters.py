"""Lightning's counters, which count a block of steps as one; Keras's optimizer counts its steps itself.

A checkpoint holds them as single steps would have left them.
"""

from typing import Any

from recipe import RecipeError

Checkpoint = dict[str, Any]

_BATCHES = "epoch_loop.batch_progress"
_BY_HAND = "epoch_loop.manual_optimization.optim_step_progress"
_BY_LIGHTNING = "epoch_loop.automatic_optimization.optim_progress"


def in_steps(checkpoint: Checkpoint, steps_per_epoch: int, block: int) -> None:
    """Rewrites the counters of a training in blocks of `block` steps as those of single steps."""
    loop = checkpoint["loops"]["fit_loop"]
    blocks_per_epoch = -(-steps_per_epoch // block)
    for counts in (loop[_BATCHES]["total"], loop[_BATCHES]["current"]):
        for name, blocks in counts.items():
            epochs, rest = divmod(blocks, blocks_per_epoch)
            counts[name] = epochs * steps_per_epoch + rest * block
    total, current = loop[_BY_HAND]["total"], loop[_BATCHES]["current"]
    for progress in loop[_BY_LIGHTNING]["optimizer"].values():
        _fill(progress["total"], total["completed"])
        _fill(progress["current"], current["completed"])
    for counts in loop[_BY_HAND].values():
        _fill(counts, 0)


def in_blocks(checkpoint: Checkpoint, steps_per_epoch: int, block: int) -> None:
    """The inverse of `in_steps`, at the end of an epoch."""
    loop = checkpoint["loops"]["fit_loop"]
    blocks_per_epoch = -(-steps_per_epoch // block)
    for counts in (loop[_BATCHES]["total"], loop[_BATCHES]["current"]):
        for name, steps in counts.items():
            counts[name] = steps // steps_per_epoch * blocks_per_epoch
    for counts in loop[_BY_HAND].values():
        _fill(counts, loop[_BY_LIGHTNING]["optimizer"]["step"]["total"]["completed"])
    for progress in loop[_BY_LIGHTNING]["optimizer"].values():
        for counts in progress.values():
            _fill(counts, 0)


def _fill(counts: dict[str, int], value: int) -> None:
    counts.update(dict.fromkeys(counts, value))


def ends_an_epoch(checkpoint: Checkpoint, steps_per_epoch: int) -> bool:
    """Whether a checkpoint was written after the last step of an epoch, or before the first."""
    return all(steps in (0, steps_per_epoch) for steps in checkpoint["loops"]["fit_loop"][_BATCHES]["current"].values())


def check_counts_steps(checkpoint: Checkpoint) -> None:
    """Refuses a checkpoint that an earlier version wrote, with counters of blocks.

    Raises:
        RecipeError: Its counters are of blocks.
    """
    if checkpoint["loops"]["fit_loop"][_BY_HAND]["total"]["completed"]:
        raise RecipeError("the checkpoint counts blocks of steps, as versions before 0.2.0 did: begin again without it")
