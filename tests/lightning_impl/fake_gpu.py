"""A device that computes on the CPU and refuses whatever mixes its tensors with the CPU's, as a GPU does.

It stands in for a GPU in a process of its own: `python -m tests.lightning_impl.fake_gpu RECIPE.json` leaves the records
of a training and of a trace.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fakegpu"
MOVES = ("aten::_to_copy", "aten::copy_", "aten::to")
"""What may have tensors of both devices."""


class _Backend:
    """What torch asks of a device's module."""

    is_available = staticmethod(lambda: True)
    _is_in_bad_fork = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    manual_seed_all = staticmethod(lambda seed: None)
    get_rng_state = staticmethod(lambda device=0: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, device=0: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.float16, torch.bfloat16])


_setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)


class FakeTensor(torch.Tensor):
    """A tensor that says it is on the device; `held` is where its numbers are."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls: Any, held: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(  # noqa: SLF001 - no public name
            cls, held.size(), strides=held.stride(), dtype=held.dtype, layout=held.layout, device=DEVICE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return compute(operation, arguments, options or {})


def _is_ours(device: Any) -> bool:
    return isinstance(device, torch.device) and device.type == NAME


def compute(operation: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Does an operation on what the tensors hold.

    Raises:
        RuntimeError: It has tensors of both devices; a number is taken from anywhere, as torch does.
    """
    leaves = tree_leaves((arguments, options))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, FakeTensor)]
    name = operation._schema.name  # noqa: SLF001 - no public name
    if name not in MOVES and ours and any(tensor.dim() for tensor in tensors if not isinstance(tensor, FakeTensor)):
        raise RuntimeError(f"Expected all tensors to be on the same device: {operation}")
    holders = {id(tensor.held): tensor for tensor in ours}

    def inside(leaf: Any) -> Any:
        return leaf.held if isinstance(leaf, FakeTensor) else torch.device("cpu") if _is_ours(leaf) else leaf

    found = operation(*tree_map(inside, arguments), **tree_map(inside, options))
    if name == "aten::copy_":
        return arguments[0]
    named = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    on_device = _is_ours(named[0]) if named else bool(ours)

    def outside(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or isinstance(leaf, FakeTensor):
            return leaf
        return holders.get(id(leaf)) if id(leaf) in holders else FakeTensor(leaf) if on_device else leaf

    return tree_map(outside, found)


class OnTheDevice(TorchDispatchMode):
    """Has tensors made for the device, and moved there, be of it."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        leaves = tree_leaves((arguments, options or {}))
        if any(isinstance(leaf, FakeTensor) or _is_ours(leaf) for leaf in leaves):
            return compute(operation, arguments, options or {})
        return operation(*arguments, **(options or {}))


class FakeAccelerator(Accelerator):
    """The device, as Lightning asks for it."""

    setup_device = teardown = lambda self, *_: None
    get_device_stats = lambda self, device: {}  # noqa: E731
    parse_devices = staticmethod(int)
    get_parallel_devices = staticmethod(lambda devices: [DEVICE])
    auto_device_count = staticmethod(lambda: 1)
    is_available = staticmethod(lambda: True)
    name = staticmethod(lambda: NAME)


def main() -> None:
    """Trains and traces the recipe on the device, and leaves `record` and `trace` beside it."""
    from lightning_impl import first_steps, recording
    from recipe import Recipe
    from recipe.datasets import with_images
    from record.first_steps import write_trace

    plain = recording.quiet_trainer

    def on_the_device(accelerator: str, *callbacks: Any, **options: Any) -> Any:
        strategy = SingleDeviceStrategy(device=DEVICE, accelerator=FakeAccelerator())
        return plain("auto", *callbacks, strategy=strategy, inference_mode=False, **options)

    recording.quiet_trainer = first_steps.quiet_trainer = on_the_device
    path = Path(sys.argv[1])
    recipe = with_images(Recipe.from_json(path.read_text()))
    torch._C._set_only_lift_cpu_tensors(True)  # noqa: SLF001 - no public name
    with OnTheDevice():
        recording.train_and_record(recipe, path.with_name("record"), 0.0, accelerator="auto")
        write_trace(path.with_name("trace"), first_steps.trace(recipe, accelerator="auto"))


if __name__ == "__main__":
    main()
