"""What a script makes of a batch's tensors before they meet the model's outputs: 1 - y, y.float(), one_hot(y)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

_ELEMENTWISE = frozenset({
    "add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "multiply", "subtract", "divide", "true_divide",
    "neg", "negative", "abs", "pow", "square", "sqrt", "log", "log1p", "exp", "clamp", "clip", "round", "sign",
    "eq", "ne", "gt", "ge", "lt", "le", "logical_not", "bitwise_not", "invert",
    "float", "double", "half", "bfloat16", "long", "int", "bool", "to", "type", "clone", "contiguous", "detach",
    "one_hot", "unsqueeze", "squeeze", "view", "reshape", "flatten", "getitem",
})  # fmt: skip
"""Functions of one tensor that leave each sample at its place, by their plain names."""


class Derived:
    """Tensors that are made of others by functions of one tensor, each with the call that makes it again."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Tensor, Callable[[], Tensor], int]] = {}

    def note(self, name: str, args: Any, result: Tensor, again: Callable[[], Tensor]) -> None:
        """Notes a call, if it is one of those; its tensor is the first argument.

        Args:
            name: The function's plain name.
            args: Its arguments by position.
            result: What came out, (samples, ...).
            again: Calls it again.
        """
        source = args[0] if name in _ELEMENTWISE and args else None
        if not isinstance(source, Tensor) or source is result or source.ndim == 0 or result.ndim == 0:
            return
        if any(isinstance(arg, Tensor) for arg in args[1:]) or len(source) != len(result):
            return
        if name == "getitem" and not _keeps_all(args[1]):
            return
        self._made[id(result)] = result, source, again, _version(result)

    def root(self, tensor: Tensor) -> Tensor:
        """The batch's tensor that one was made of; itself where it is none, or was changed in place since."""
        entry = self._made.get(id(tensor))
        while entry is not None and entry[3] == _version(entry[0]):
            tensor = entry[1]
            entry = self._made.get(id(tensor))
        return tensor

    def make_again(self, root: Tensor) -> None:
        """Makes all that was made of a tensor again, in place, after its values were replaced."""
        found = [number for number, (made, *_) in self._made.items() if made is not root and self.root(made) is root]
        for number in found:  # in the order in which they were made
            made, source, again, _ = self._made[number]
            made.data = again().to(made.dtype)
            self._made[number] = made, source, again, _version(made)


def _keeps_all(index: Any) -> bool:
    """Whether an index only adds axes of size 1."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or part == slice(None) for part in parts)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; of one that is not counted, nothing."""
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001
