"""Runs a PyTorch or Lightning script and writes down what it does: `python -m watch.torch_script REQUEST.json OUT`."""

import os
import sys
from typing import Any

from record.isolation import hide
from watch.program.script import Session, arguments, wait_for_plan


def main() -> None:
    """Runs the script of the request; the process ends in it."""
    request, out = arguments()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    os.environ.setdefault("KERAS_BACKEND", "torch")
    hide(["tensorflow", "jax"])
    import torch

    from watch.torch.functions import Functions, make_double
    from watch.torch.watch import Watch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    plan = wait_for_plan(request)
    session = Session(request, out)
    watch = Watch(session, plan)
    finish = _install(watch)
    if request.float64:
        make_double()
    session.document.update({
        "framework": "torch", "backend": None, "versions": _versions(), "dtype_policy": None,
        "floatx": str(torch.get_default_dtype()).removeprefix("torch."),
    })  # fmt: skip
    session.finishers.append(finish)
    with Functions(watch):
        session.run(finished=lambda names: _use(watch, names))


def _install(watch: Any) -> Any:
    """Puts all eyes in their places; what is to be called at the end."""
    import torch
    from torch import nn

    from watch.program.datasets import serve_torchvision
    from watch.program.imports import after_import
    from watch.torch.data import Data
    from watch.torch.loop import Loop

    original = nn.Module.__call__

    def call(self: Any, *args: Any, **options: Any) -> Any:
        return watch.called(self, original, args, options)

    watch.original_call = original
    nn.Module.__call__ = call  # type: ignore[method-assign]
    watch.model.watch()
    loop, data = Loop(watch), Data(watch)
    loop.install()
    data.install()
    watch.session.note_seeds(torch, "manual_seed", "torch.manual_seed")
    _protect_files(watch)
    after_import("torchvision.datasets.mnist", serve_torchvision)

    def finish() -> None:
        with watch.quietly():
            _describe_model(watch)
            loop.finish()
            data.finish()

    return finish


def _protect_files(watch: Any) -> None:
    """`torch.save` opens files in C++, past Python's own way of opening them."""
    import torch

    save = torch.save

    def protected(value: Any, target: Any, *args: Any, **options: Any) -> None:
        watch.session.mirror.part(target)
        save(value, target, *args, **options)

    torch.save = protected  # type: ignore[assignment]


def _describe_model(watch: Any) -> None:
    """Writes down the model: its layers, and how many parameters it has."""
    model = watch.model
    if not model.roots and not model.loose:
        return
    from watch.torch.model.modules import place_of

    parameters = model.parameters()
    first = model.roots[0] if model.roots else None
    watch.document["model"] = {
        "class": type(first).__name__ if first is not None else None,
        "num_parameters": sum(parameter.numel() for parameter in parameters.values()),
        "num_trainable": sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad),
        "place": place_of(first) if first is not None else None, "roots": [type(root).__name__ for root in model.roots],
        "layers": model.layers(),
        "loose_parameters": {name: list(parameter.shape) for name, parameter in model.loose.items()},
    }  # fmt: skip


def _use(watch: Any, names: dict[str, Any]) -> None:
    """Calls a model that is only used, if the request is for one."""
    if watch.request.attribute:
        from watch.torch.use import use_model

        use_model(watch, names)


def _versions() -> dict[str, str]:
    """The versions of what is installed, as far as it matters."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for package in ("torch", "torchvision", "lightning", "pytorch-lightning", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
