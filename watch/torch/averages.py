"""Moving averages of the weights that a torch script keeps by its own arithmetic."""

import math
from types import FrameType
from typing import Any

from torch import Tensor

from watch.torch.watch import Watch

_SCALED = {"mul", "__mul__", "__rmul__"}
_ADDED = {"add_", "add", "__add__", "__iadd__", "__radd__"}
_LERPED = {"lerp_", "lerp"}
_MOST_NEW = 0.5
"""An average that takes more than half of the new weights at each step is none."""


class Averages:
    """Sees a copy of the weights moved towards them between two steps: c ← d·c + (1 − d)·w, however that is written.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._scaled: dict[int, tuple[Tensor, float]] = {}  # w · (1 − d), by identity; held, so that ids stay
        self._counted = -1

    def seen(self, name: str, args: Any, options: Any, result: Any, frame: FrameType) -> None:
        """A function that was called after a step and before the next forward pass."""
        if name not in _SCALED | _ADDED | _LERPED or not args or not isinstance(result, Tensor):
            return
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        numbers = [arg for arg in args if isinstance(arg, int | float)]
        share: Any = None
        if name in _SCALED and len(tensors) == 1 and len(numbers) == 1 and self._is_weight(tensors[0]):
            self._scaled[id(result)] = result, float(numbers[0])
        elif name in _LERPED and len(tensors) == 2 and self._is_weight(tensors[1]):
            share = options.get("weight", next(iter(numbers), None))
        elif name in _ADDED and len(tensors) == 2 and not any(self._is_weight(t, whole=False) for t in tensors[:1]):
            share = options.get("alpha") if self._is_weight(tensors[1]) else None
            if share is None:
                share = next((self._scaled[id(tensor)][1] for tensor in tensors if id(tensor) in self._scaled), None)
        if isinstance(share, int | float) and 0 < share < _MOST_NEW:
            self._note(1 - float(share), frame)

    def _is_weight(self, tensor: Tensor, whole: bool = True) -> bool:
        """Whether a tensor is a parameter that an optimizer has, or shares its memory; `whole` for one of its shape."""
        for optimizer in self.watch.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.data_ptr() == tensor.data_ptr() and (not whole or parameter.shape == tensor.shape):
                        return True
        return False

    def _note(self, decay: float, frame: FrameType) -> None:
        watch = self.watch
        known = watch.document["loop"]["ema"]
        if known is None:
            watch.document["loop"]["ema"] = {
                "class": None, "settings": {}, "place": watch.session.places.here(frame), "updates": 1,
                "decay": float(f"{decay:.9g}"), "first": float(f"{decay:.9g}"),
            }  # fmt: skip
        elif known["class"] is None and watch.step != self._counted:
            known["updates"] += 1
            if not math.isclose(known["decay"], decay, rel_tol=1e-9):
                known["decay"] = None  # it warms up
        self._counted = watch.step
