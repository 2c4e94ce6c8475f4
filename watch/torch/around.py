"""What acts around a step of a torch script: clipping, precision, averaged copies of the model."""

import inspect
import sys
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from watch.source.loops import called_in_loops
from watch.torch.model.tensors import plain, settings_of
from watch.torch.watch import Watch


class Around:
    """Watches what a script does around its optimizer steps.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.places = watch.session.places
        self._averaged: Any = None  # torch's own averaged copy of the model

    @property
    def loop(self) -> dict[str, Any]:
        """What is written down of the loop."""
        return self.watch.document["loop"]

    def install(self) -> None:
        """Puts everything in its place."""
        self._watch_clipping()
        self._watch_precision()
        self._watch_copies()

    def look(self, frame: FrameType | None) -> None:
        """How often the code that runs at the first optimizer step updates an averaged copy of the model."""
        average = self.loop["ema"]
        if isinstance(average, dict):
            calls = called_in_loops("update_parameters", frame, self.places)
            average["per"] = next((where for called, where in calls if called is self._averaged), None)

    # What acts on gradients

    def _watch_clipping(self) -> None:
        for name in ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm"):
            self._watch_clip(name)

    def _watch_clip(self, name: str) -> None:
        original = getattr(torch.nn.utils, name)

        def clip(parameters: Any, *args: Any, **options: Any) -> Any:
            parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
            named = dict(zip(list(inspect.signature(original).parameters)[1:], args, strict=False)) | options
            self.loop["clip"].append({
                "function": name, "settings": settings_of({key: plain(value) for key, value in named.items()}),
                "gradients": len(parameters), "step": self.watch.step,
                "parameters": [path for path, known in self.watch.model.parameters().items()
                               if any(known is parameter for parameter in parameters)],
                "place": self.places.here(sys._getframe(1)),  # noqa: SLF001
            })  # fmt: skip
            return original(parameters, *args, **options)

        setattr(torch.nn.utils, name, clip)
        setattr(torch.nn.utils.clip_grad, name, clip)

    # Precision

    def _watch_precision(self) -> None:
        loop, autocast, scaler = self, torch.autocast.__init__, torch.amp.GradScaler.__init__
        compile_, module_compile = torch.compile, nn.Module.compile

        def init(self: Any, device_type: str, dtype: Any = None, enabled: bool = True, *args: Any, **more: Any) -> None:
            autocast(self, device_type, dtype, enabled, *args, **more)
            if enabled and loop.loop["autocast"] is None:
                dtype = dtype or torch.get_autocast_dtype(device_type)
                place = loop.places.here(sys._getframe(1))  # noqa: SLF001
                loop.loop["autocast"] = {"dtype": str(dtype), "device": device_type, "place": place}

        def scaler_init(self: Any, *args: Any, **options: Any) -> None:
            bound = inspect.signature(scaler).bind(self, *args, **options)
            loop.loop["grad_scaler"] = loop.loop["grad_scaler"] or bool(bound.arguments.get("enabled", True))
            bound.arguments["enabled"] = False  # it scales a loss up and gradients down again, by the same
            scaler(*bound.args, **bound.kwargs)

        def no_compile(model: Any = None, **options: Any) -> Any:
            loop.loop["compile"] = True
            return model if model is not None else lambda function: no_compile(function, **options)

        def no_module_compile(self: Any, *args: Any, **options: Any) -> None:
            del self, args, options
            loop.loop["compile"] = True

        del compile_, module_compile
        torch.autocast.__init__ = init  # type: ignore[method-assign]
        torch.amp.GradScaler.__init__ = scaler_init  # type: ignore[method-assign]
        torch.compile = no_compile
        nn.Module.compile = no_module_compile  # type: ignore[method-assign]

    def _watch_copies(self) -> None:
        loop, original = self, torch.optim.swa_utils.AveragedModel.__init__

        def init(self: Any, *args: Any, **options: Any) -> None:
            loop._averaged = self
            place = loop.places.here(sys._getframe(1))  # noqa: SLF001
            loop.loop["ema"] = {
                "class": "AveragedModel", "settings": settings_of(options), "place": place, "updates": 0,
                "decay": _decay(options.get("multi_avg_fn") or options.get("avg_fn")),
            }  # fmt: skip
            with_optimizers, loop.watch.internal = loop.watch.internal, True
            try:
                original(self, *args, **options)
            finally:
                loop.watch.internal = with_optimizers

        update = torch.optim.swa_utils.AveragedModel.update_parameters

        def update_parameters(self: Any, model: Any) -> None:
            if isinstance(loop.loop["ema"], dict):
                loop.loop["ema"]["updates"] += 1
            update(self, model)

        torch.optim.swa_utils.AveragedModel.__init__ = init  # type: ignore[method-assign]
        torch.optim.swa_utils.AveragedModel.update_parameters = update_parameters  # type: ignore[method-assign]


def _decay(average: Any) -> float | None:
    """The decay that torch's own functions of a moving average were made with."""
    average = inspect.unwrap(average) if callable(average) else average
    names = getattr(getattr(average, "__code__", None), "co_freevars", ())
    cells = dict(zip(names, getattr(average, "__closure__", None) or (), strict=False))
    value = cells["decay"].cell_contents if "decay" in cells else None
    return float(value) if isinstance(value, int | float) else None
