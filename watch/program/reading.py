"""What a script reads when it is asked once more: the first batch of its training and of its validation data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from watch.program.script import Session

Arrays = Sequence[np.ndarray[Any, Any] | None]


def read_twice(session: Session, name: str, read: Callable[[], tuple[Arrays, Arrays]]) -> dict[str, Any] | None:
    """Reads the first batch twice: what is not the same then is changed at random.

    Args:
        session: The run.
        name: `training` or `validation`.
        read: Gives inputs and targets.

    Returns:
        Keys of `inputs` and `targets`, and whether the inputs are `random`; None where nothing can be read.
    """
    session.order.in_pairs = False
    try:
        (inputs, targets), (again, _) = read(), read()
    except Exception:  # noqa: BLE001 a user's data may have come to an end, or be no longer there
        return None
    finally:
        session.order.in_pairs = True
    pairs = [(a, b) for a, b in zip(inputs, again, strict=False) if a is not None and b is not None]
    keep = session.observation.keep
    return {
        "inputs": [None if x is None else keep(f"{name}/input{i}", x) for i, x in enumerate(inputs)],
        "targets": [None if y is None else keep(f"{name}/target{i}", y) for i, y in enumerate(targets)],
        "random": any(a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs),
    }
