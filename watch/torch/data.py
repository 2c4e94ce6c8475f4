"""How a torch script reads its data: loaders, samplers, splits, and the orders that they draw."""

import functools
import inspect
import sys
from typing import Any

import torch
from torch.utils import data
from torch.utils._pytree import tree_leaves

from watch.program.order import Order, turn
from watch.program.reading import read_twice
from watch.torch.model.tensors import scalars
from watch.torch.schedules import trainer_of
from watch.torch.watch import Watch

_SAMPLERS = frozenset(
    {"torch.utils.data.sampler", "torch.utils.data.dataset", "torch.utils.data.distributed", __name__}
)
_WORKERS = {
    "num_workers": 0, "persistent_workers": False, "prefetch_factor": None, "timeout": 0, "pin_memory": False,
    "multiprocessing_context": None,
}  # fmt: skip
_SHUFFLING = (data.RandomSampler, data.SubsetRandomSampler, data.WeightedRandomSampler)


class Data:
    """Watches where a script's data come from.

    Args:
        watch: What all watched functions share.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.order: Order = watch.session.order
        self.found = watch.session.data
        self._loaders: list[Any] = []
        self._iterate = data.DataLoader.__iter__

    def install(self) -> None:
        """Puts everything in its place."""
        self._watch_randperm()
        self._watch_loaders()
        self._watch_splits()

    def _watch_randperm(self) -> None:
        order, original = self.order, torch.randperm
        first_lines: dict[Any, int] = {}  # of a sampler's code

        def randperm(n: int, *args: Any, **options: Any) -> Any:
            frame = sys._getframe(1)  # noqa: SLF001
            sampler = frame.f_locals.get("self") if frame.f_globals.get("__name__") in _SAMPLERS else None
            # A loader's sampler is the user's, whoever iterates: Lightning does so for a loader given to `fit`.
            if not isinstance(sampler, data.Sampler) and not order.is_drawn_by_user(frame, _SAMPLERS):
                return original(n, *args, **options)
            name = "torch.randperm" if sampler is None else type(sampler).__name__
            name = "random_split" if frame.f_code.co_name == "random_split" else name
            generator = options.get("generator") or torch.default_generator
            # At its end a RandomSampler draws once more, of which it takes the rest that its number of samples leaves.
            at_its_end = sampler is not None and frame.f_lineno > first_lines.setdefault(frame.f_code, frame.f_lineno)
            state = None if at_its_end else hash(generator.get_state().cpu().numpy().tobytes())
            apart = order.note(name, int(n), frame, state)
            result = original(n, *args, **options)
            if not order.identity:
                return result
            made = torch.arange(n, dtype=result.dtype, device=result.device)
            return torch.from_numpy(turn(made.cpu().numpy())).to(made) if apart else made

        torch.randperm = randperm  # type: ignore[assignment]
        data.dataset.randperm = randperm  # type: ignore[assignment,attr-defined] # random_split's, by a name of its own

    def _watch_loaders(self) -> None:
        found, original, iterate = self, data.DataLoader.__init__, self._iterate
        signature = inspect.signature(original)

        def init(self: Any, *args: Any, **options: Any) -> None:
            bound = signature.bind(self, *args, **options)
            workers = bound.arguments.get("num_workers", 0)
            for name, value in _WORKERS.items():
                if name in bound.arguments:
                    bound.arguments[name] = value
            original(*bound.args, **bound.kwargs)
            found._note_loader(self, workers, sys._getframe(1))  # noqa: SLF001

        def watched_iter(self: Any) -> Any:
            found._note_iteration(self)
            return iterate(self)

        data.DataLoader.__init__ = init  # type: ignore[method-assign]
        data.DataLoader.__iter__ = watched_iter  # type: ignore[method-assign]

    def _note_loader(self, loader: Any, workers: int, frame: Any) -> None:
        place = self.watch.session.places.here(frame)
        sampler = loader.sampler if loader.batch_sampler is None or loader.batch_size else loader.batch_sampler
        self._loaders.append(loader)
        self.found["loaders"].append({
            "batch_size": loader.batch_size, "shuffle": isinstance(loader.sampler, _SHUFFLING),
            "replacement": bool(getattr(loader.sampler, "replacement", False)), "drop_last": loader.drop_last,
            "sampler": type(sampler).__name__, "num_workers": workers,
            "num_samples": _length(loader.dataset), "num_sampled": _length(loader.sampler),
            "num_batches": _length(loader), "dataset": type(loader.dataset).__name__, "place": place, "iterations": [],
            "copies": _copies(loader.dataset, workers), "drawable": _drawable(_sampler(loader)),
            "weights": _length(getattr(loader.sampler, "weights", None)), "rows": _rows(loader),
        })  # fmt: skip

    def _note_iteration(self, loader: Any) -> None:
        """An iteration begins: before which step, and whether with gradients."""
        for index, known in enumerate(self._loaders):
            if known is loader and len(self.found["loaders"][index]["iterations"]) < 16:
                entry = {"before_step": self.watch.step, "grad": torch.is_grad_enabled()}
                self.found["loaders"][index]["iterations"].append(entry)

    def _watch_splits(self) -> None:
        original = data.random_split

        def random_split(dataset: Any, lengths: Any, *args: Any, **options: Any) -> Any:
            parts = original(dataset, lengths, *args, **options)
            self.found["splits"].append({
                "function": "random_split", "sizes": [len(part) for part in parts],
                "place": self.watch.session.places.here(sys._getframe(1)),  # noqa: SLF001
            })  # fmt: skip
            return parts

        data.random_split = random_split
        data.dataset.random_split = random_split

    def finish(self) -> None:
        """Writes down the data sets behind the loaders, what they are transformed by, and what two of them share."""
        seen: list[Any] = []
        for loader in self._loaders:
            dataset = loader.dataset
            while isinstance(dataset, data.Subset):
                dataset = dataset.dataset
            if any(dataset is known for known in seen):
                continue
            seen.append(dataset)
            transforms = getattr(dataset, "transform", None)
            self.found["datasets"].append({
                "name": type(dataset).__name__.lower(), "num_samples": _length(dataset),
                "transforms": None if transforms is None else " ".join(str(transforms).split()),
            })  # fmt: skip
        self.found["validation_overlap"] = self._overlap()
        self._trainer()
        if self.watch.plan is None:
            self._read_again()

    def _read_again(self) -> None:
        """The first batch of the loader that is trained from, and of the first one that is not."""
        training = self._trained_from()
        others = [loader for loader in self._loaders if training and loader is not training[0]]
        found: dict[str, Any] = {}
        for name, loader in zip(("training", "validation"), (training[:1] + others[:1]), strict=False):
            found[name] = read_twice(self.watch.session, name, functools.partial(_first_batch, loader, self._iterate))
            if found[name] is not None:
                found[name]["place"] = self.found["loaders"][self._number(loader)]["place"]
        self.found["read"] = {name: entry for name, entry in found.items() if entry is not None}

    def _number(self, loader: Any) -> int:
        return next(number for number, known in enumerate(self._loaders) if known is loader)

    def _trained_from(self) -> list[Any]:
        return [
            loader for loader, entry in zip(self._loaders, self.found["loaders"], strict=True)
            if any(iteration["grad"] for iteration in entry["iterations"])
        ][:1]  # fmt: skip

    def _overlap(self) -> float | None:
        """The fraction of the second loader's samples that the first one, from which is trained, has as well."""
        training = self._trained_from()
        others = [loader for loader in self._loaders if training and loader is not training[0]]
        if not others:
            return None
        first, second = _samples(training[0].dataset), _samples(others[0].dataset)
        if first is None or second is None or first[0] is not second[0] or not second[1]:
            return None
        return len(set(first[1]) & set(second[1])) / len(second[1])

    def _trainer(self) -> None:
        """What Lightning's Trainer was given."""
        trainer = trainer_of(self.watch.model.roots)
        if trainer is None:
            return
        name = type(trainer).__name__
        settings: dict[str, Any] = {"class": name, "place": self.watch.session.places.making(name)}
        for name in (
            "max_epochs", "max_steps", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches",
            "precision", "limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch",
            "num_sanity_val_steps", "overfit_batches",
        ):  # fmt: skip
            try:
                settings[name] = scalars(getattr(trainer, name, None))
            except TypeError:
                settings[name] = str(getattr(trainer, name))
        settings["callbacks"] = [
            {
                "class": type(callback).__name__, "settings": _plain(vars(callback)),
                "own": not type(callback).__module__.startswith(("lightning.", "pytorch_lightning.")),
                "place": self.watch.session.places.making(type(callback).__name__),
            }
            for callback in trainer.callbacks
        ]  # fmt: skip
        root = next(iter(self.watch.model.roots))
        settings["automatic_optimization"] = bool(getattr(root, "automatic_optimization", True))
        self.found["trainer"] = settings
        self.found["epochs"] = {"value": trainer.max_epochs, "how": "Trainer", "loops": []}


def _first_batch(loader: Any, iterate: Any) -> Any:
    """Inputs and targets of a loader's first batch: the first and the last of its tensors.

    Of one that draws its samples by weights or with replacement, the first samples of its data set: others are drawn
    each time, which is no change of the samples themselves.
    """
    drawn = isinstance(loader.sampler, data.WeightedRandomSampler) or getattr(loader.sampler, "replacement", False)
    if drawn and loader.batch_size and loader.collate_fn is not None:
        count = min(loader.batch_size, len(loader.dataset))
        batch = loader.collate_fn([loader.dataset[number] for number in range(count)])
    else:
        batch = next(iter(iterate(loader)))
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)]
    arrays = [tensor.detach().cpu().numpy() for tensor in tensors]
    return arrays[:1], arrays[1:][-1:]


def _drawable(sampler: Any) -> int | None:
    """How many samples a sampler ever draws; None where that is not known."""
    if isinstance(sampler, data.WeightedRandomSampler):
        return int((sampler.weights > 0).sum())
    if isinstance(sampler, data.SubsetRandomSampler):
        return len({int(index) for index in sampler.indices})
    return _length(sampler.data_source) if isinstance(sampler, data.RandomSampler | data.SequentialSampler) else None


def _rows(loader: Any) -> dict[str, int] | None:
    """Which samples of a data set a subset of it takes: the first, how many, and of how many; None if it has gaps."""
    sampler, length = _sampler(loader), _length(loader.dataset)
    chosen = isinstance(sampler, data.SubsetRandomSampler)
    if length is None or not (chosen or isinstance(sampler, data.RandomSampler | data.SequentialSampler)):
        return None
    if not chosen and not isinstance(loader.dataset, data.Subset):
        return {"first": 0, "count": length, "of": length}
    found = _samples(loader.dataset)
    if found is None:
        return None
    base, indices = found
    if chosen:
        indices = [indices[int(index)] for index in sampler.indices]
    first, count = min(indices, default=0), len(indices)
    if sorted(indices) != list(range(first, first + count)):
        return None
    return {"first": first, "count": count, "of": _length(base) or count}


def _sampler(loader: Any) -> Any:
    """What draws a loader's samples, one by one; of batches of the user's own, what those are made of, if known."""
    own = loader.batch_size is None and loader.batch_sampler is not None
    return getattr(loader.batch_sampler, "sampler", None) if own else loader.sampler


def _copies(dataset: Any, workers: int) -> int:
    """How often workers read each sample: each reads all of an `IterableDataset` that does not ask which one it is."""
    if not isinstance(dataset, data.IterableDataset) or workers < 2:
        return 1
    asks = "get_worker_info" in getattr(getattr(type(dataset).__iter__, "__code__", None), "co_names", ())
    return 1 if asks else workers


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items()
        if not name.startswith("_") and isinstance(value, bool | int | float | str | None)
    }  # fmt: skip


def _length(value: Any) -> int | None:
    try:
        return len(value)
    except (TypeError, NotImplementedError):
        return None


def _samples(dataset: Any) -> tuple[Any, list[int]] | None:
    """The data set at the bottom of subsets, and which of its samples they take."""
    indices: list[int] | None = None
    while isinstance(dataset, data.Subset):
        taken = [int(index) for index in dataset.indices]
        indices = taken if indices is None else [taken[index] for index in indices]
        dataset = dataset.dataset
    length = _length(dataset)
    if length is None:
        return None
    return dataset, list(range(length)) if indices is None else indices
