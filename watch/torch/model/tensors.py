"""Tensors in the nested values that modules take and return: found, read, replaced."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

LOW = frozenset({torch.float32, torch.float16, torch.bfloat16})
_DEPTH = 6  # of nested containers


def leaves(value: Any, depth: int = 0) -> list[Any]:
    """The tensors and packed sequences in a value, in order."""
    if isinstance(value, Tensor | PackedSequence):
        return [value]
    if depth > _DEPTH:
        return []
    if isinstance(value, Mapping):
        parts: Any = list(value.values())
    elif isinstance(value, list | tuple):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        return []
    return [leaf for part in parts for leaf in leaves(part, depth + 1)]


def mapped(value: Any, replace: Callable[[Any], Any]) -> Any:
    """The same value with each leaf replaced, in the order of `leaves`."""
    if isinstance(value, Tensor | PackedSequence):
        return replace(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(part, replace) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(part, replace) for part in value)
    if isinstance(value, Mapping) and hasattr(value, "copy"):
        result: Any = value.copy()
        for name, part in value.items():
            result[name] = mapped(part, replace)
        return result
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            object.__setattr__(value, field.name, mapped(getattr(value, field.name), replace))
    return value


def tensor_of(leaf: Any) -> Tensor:
    """What autograd knows of a leaf."""
    return leaf.data if isinstance(leaf, PackedSequence) else leaf


def array(leaf: Any) -> np.ndarray[Any, Any] | None:
    """The values of a leaf, a packed sequence padded and with the batch first; None for what has none."""
    with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
        if isinstance(leaf, PackedSequence):
            leaf = pad_packed_sequence(leaf, batch_first=True)[0]
        if leaf.is_sparse:
            leaf = leaf.to_dense()
        if leaf.device.type == "meta" or leaf.is_complex() or leaf.layout is not torch.strided:
            return None
        values = leaf.detach().cpu()
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy()


class _Forced(torch.autograd.Function):
    """Values put in the place of a tensor's; its gradient goes through as it is."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, values: Tensor) -> Tensor:
        """A copy of `values`, which has the tensor's shape: what is returned may be changed in place."""
        del ctx, tensor
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient, as if nothing had been replaced."""
        del ctx
        return gradients[0], None


def forced(leaf: Any, values: np.ndarray[Any, Any]) -> Any:
    """A leaf with values in its place and its own gradient; the leaf itself if the sizes differ."""
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        if isinstance(leaf, PackedSequence):
            return _forced_packed(leaf, values)
        if leaf.numel() != values.size:
            return leaf
        planned = torch.from_numpy(np.asarray(values, order="C")).to(leaf.dtype).reshape(leaf.shape)
        if leaf.requires_grad and torch.is_grad_enabled():
            return _Forced.apply(leaf, planned)
        return planned.clone()


def _forced_packed(leaf: PackedSequence, values: np.ndarray[Any, Any]) -> PackedSequence:
    padded, lengths = pad_packed_sequence(leaf, batch_first=True)
    if padded.numel() != values.size:
        return leaf
    planned = torch.from_numpy(np.asarray(values, order="C")).to(padded.dtype).reshape(padded.shape)
    if leaf.sorted_indices is not None:
        planned, lengths = planned[leaf.sorted_indices], lengths[leaf.sorted_indices]
    data = pack_padded_sequence(planned, lengths, batch_first=True).data
    return PackedSequence(forced(leaf.data, data.numpy()), leaf.batch_sizes, leaf.sorted_indices, leaf.unsorted_indices)


def set_values(tensor: Tensor, values: np.ndarray[Any, Any]) -> None:
    """Puts values in a tensor that was fed, wherever it is used from now on; its own type is kept."""
    with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
        tensor.data = torch.from_numpy(np.array(values)).to(tensor.dtype)


def load_values(tensor: Tensor, values: np.ndarray[Any, Any]) -> bool:
    """Copies values into a parameter or buffer; False if the sizes differ."""
    if tensor.numel() != values.size:
        return False
    with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
        planned = torch.from_numpy(np.array(values)).reshape(tensor.shape).to(tensor.dtype)
        if not torch.equal(tensor, planned):
            tensor.data.copy_(planned)  # through `data`, which autograd does not take for a change in place
    return True


def scalars(value: Any) -> Any:
    """What of a setting can be written down: numbers, texts and sequences of them; None of anything else.

    Raises:
        TypeError: Nothing of it can.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.dtype | torch.device | torch.Size):
        return list(value) if isinstance(value, torch.Size) else str(value)
    if isinstance(value, list | tuple) and len(value) <= 16:
        return [scalars(part) for part in value]
    if isinstance(value, slice):
        return {"slice": [scalars(value.start), scalars(value.stop), scalars(value.step)]}
    if value is Ellipsis:
        return "..."
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    raise TypeError(type(value).__name__)


def settings_of(names: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among named values that can be written down."""
    found = {}
    for name, value in names.items():
        try:
            found[name] = scalars(value)
        except TypeError:
            continue
    return found


def plain(value: Any) -> Any:
    """A number in place of a tensor that holds one."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
