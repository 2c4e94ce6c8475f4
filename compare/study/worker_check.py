"""What a Dask worker is asked before it gets work. It travels as code: the worker may lack the package."""

import sys
from collections.abc import Callable
from typing import Any


def describe_worker(commands: dict[str, tuple[str, ...]]) -> dict[str, Any] | str:
    """What the worker's machine would run for these commands, or why it cannot."""
    try:
        from compare.study.portable import describe
    except ImportError as error:
        return str(error)
    return describe(commands)


def described_by_value() -> Callable[..., Any]:
    """`describe_worker`, to be pickled as code and not by name."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return describe_worker
