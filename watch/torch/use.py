"""A model that is only used: called once in evaluation mode and, if asked for, once in training mode."""

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from watch.program.use import model_of
from watch.torch.model.calls import Calls
from watch.torch.watch import Watch

_SIZES = (64, 32, 28, 224, 96, 128, 256, 299)  # of images, tried in turn
_LENGTHS = (16, 32, 64, 128)  # of sequences
_BATCH = 4


def use_model(watch: Watch, names: dict[str, Any]) -> None:
    """Finds the model by its name, calls it, and writes down its calls and parameters."""
    session = watch.session
    model: nn.Module = model_of(session, names, lambda found: isinstance(found, nn.Module), "torch module")
    if not any(True for _ in model.parameters()):
        session.fail(
            f"the model {session.request.attribute} in {session.request.script.name} has no parameters", "no_model"
        )
    watch.model.include_module(model)
    with watch.quietly():
        if watch.float64:
            model.double()
        watch.keep_initial()
        watch.set_parameters()
        watch.document["loop"]["training_flags"] = {path: part.training for path, part in watch.model.modules()}
    arguments, options = _inputs(watch, model)
    watch.document["fed"] = [
        {
            "inputs": [_kept(watch, f"use/in{i}", value) for i, value in enumerate([*arguments, *options.values()])],
            "targets": [], "sample_weights": None,
        }
    ]  # fmt: skip
    planned = (watch.plan.document.get("evaluation") or {}).get("calls") or [] if watch.plan else []
    evaluation = _call(watch, model, Calls(watch.observation, "eval", True, watch.plan, planned), arguments, options)
    watch.document["evaluation_calls"] = evaluation
    if watch.request.training:
        planned = (watch.plan.step(0).get("calls") or []) if watch.plan else []
        calls = Calls(watch.observation, "step0", True, watch.plan, planned)
        watch.document["calls"] = [_call(watch, model, calls, arguments, options, training=True)]
        watch.write_dropout(calls.committed)


def _call(watch: Watch, model: nn.Module, calls: Calls, args: Any, options: Any, training: bool = False) -> Any:
    """One forward pass with everything kept; its calls."""
    watch.calls, watch.evaluating = calls, True
    watch.dropout_wanted = training
    try:
        with watch.unchanged(model), torch.no_grad():
            model.train(training)
            model(*args, **options)
    finally:
        watch.evaluating, watch.dropout_wanted = False, False
    calls.committed, calls.pending = calls.pending, []
    for group in calls.groups:
        group.kept = True
    return calls.finished()


def _inputs(watch: Watch, model: nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What to call the model with: the plan's inputs, the user's file's, or some that fit its first layer."""
    planned = watch.plan.step(0).get("inputs") if watch.plan else None
    if watch.plan and planned:
        arrays = [watch.plan.array(key) for key in planned]
        return [_tensor(watch, array) for array in arrays if array is not None], {}
    if watch.request.inputs is not None:
        return _from_file(watch, model)
    if watch.plan and watch.plan.document.get("inputs"):
        return [_tensor(watch, watch.plan.array(key)) for key in watch.plan.document["inputs"]], {}
    for tried in _guesses(model, watch.request.batch or _BATCH):
        try:
            with watch.quietly(), watch.unchanged(model), torch.no_grad():
                model.eval()
                watch.original_call(model, tried)
        except Exception:  # noqa: BLE001, S112 another size is tried
            continue
        return [tried], {}
    return watch.session.fail("no made-up input fits the model; give some with --inputs FILE.npy")


def _from_file(watch: Watch, model: nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
    loaded = np.load(watch.request.inputs)  # type: ignore[arg-type]
    if isinstance(loaded, np.ndarray):
        return [_tensor(watch, loaded)], {}
    arrays = {name: _tensor(watch, loaded[name]) for name in loaded.files}
    names = set(inspect.signature(model.forward).parameters)
    return ([], arrays) if arrays.keys() <= names else (list(arrays.values()), {})


def _tensor(watch: Watch, array: Any) -> Tensor:
    batch = watch.request.batch
    tensor = torch.from_numpy(np.ascontiguousarray(array if batch is None else array[:batch]))
    if tensor.is_floating_point():
        return tensor.to(torch.get_default_dtype())
    return tensor


def _guesses(model: nn.Module, batch: int) -> Iterator[Tensor]:
    """Inputs for the first layer with parameters: its number of features or channels, and sizes in turn."""
    generator = torch.Generator().manual_seed(0)
    first = next(part for part in model.modules() if any(True for _ in part.parameters(recurse=False)))
    dtype = torch.get_default_dtype()
    if isinstance(first, nn.Embedding):
        for length in _LENGTHS:
            yield torch.randint(0, first.num_embeddings, (batch, length), generator=generator)
        return
    shapes: Iterator[tuple[int, ...]]
    if isinstance(first, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        num = len(first.kernel_size)
        sizes = (_LENGTHS, _SIZES, (16, 32, 8))[num - 1]
        shapes = ((first.in_channels, *[size] * num) for size in sizes)
    elif isinstance(first, nn.RNNBase):
        shapes = ((length, first.input_size) for length in _LENGTHS)
    elif isinstance(first, nn.Linear):
        features = first.in_features
        side = round(features**0.5)
        images = [(1, side, side)] if side * side == features else []
        color = round((features / 3) ** 0.5)
        images += [(3, color, color)] if 3 * color * color == features else []
        shapes = itertools.chain([(features,)], images, [(16, features)])
    else:
        size = next(iter(first.parameters(recurse=False))).shape[0]
        shapes = iter([(size,), (size, 32, 32), (16, size)])
    for shape in shapes:
        yield torch.randn((batch, *shape), generator=generator, dtype=dtype)


def _kept(watch: Watch, key: str, value: Tensor) -> str | None:
    return watch.observation.keep(key, value.detach().cpu().numpy())
