"""Where a Keras script's data come from: `tf.data` pipelines, and data sets that need no network."""

import functools
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from watch.keras.model.layers import readable
from watch.program.datasets import ARCHIVE
from watch.program.order import HEAD, SHUFFLES
from watch.program.script import Session

# Of a tf.data pipeline: what changes the batches or their order.
_PIPELINE = (
    "shuffle", "batch", "padded_batch", "repeat", "take", "skip", "cache", "prefetch", "map", "filter", "unbatch",
    "concatenate", "interleave", "shard", "ragged_batch", "flat_map", "enumerate", "with_options", "apply", "rebatch",
    "bucket_by_sequence_length", "ignore_errors", "take_while",
)  # fmt: skip


class Pipelines:
    """Watches `tf.data`: notes what each pipeline is made of, and makes `shuffle` the identity."""

    def __init__(self, session: Session, tensorflow: Any) -> None:
        self._session, self._tensorflow = session, tensorflow
        self._noted: set[int] = set()

    def watch(self) -> None:
        """Takes the place of the methods of `tf.data.Dataset`."""
        dataset = self._tensorflow.data.Dataset
        for name in _PIPELINE:
            if hasattr(dataset, name):
                self._wrap(dataset, name)
        self._wrap_zip(dataset)
        original = dataset.__iter__

        def iterate(pipeline: Any) -> Any:
            self._note(pipeline)
            return original(pipeline)

        for owner in (dataset, sys.modules[dataset.__module__].DatasetV2):
            if "__iter__" in vars(owner):
                owner.__iter__ = iterate
        random, session = self._tensorflow.random.shuffle, self._session

        def shuffle(value: Any, *args: Any, **options: Any) -> Any:
            if not session.order.of_user(sys._getframe(1)):  # noqa: SLF001
                return random(value, *args, **options)
            session.order.note("tf.random.shuffle", int(value.shape[0]), sys._getframe(1))  # noqa: SLF001
            return value if session.order.identity else random(value, *args, **options)

        self._tensorflow.random.shuffle = shuffle

    def _wrap(self, dataset: Any, name: str) -> None:
        owner = next(base for base in dataset.__mro__ if name in base.__dict__)
        original = owner.__dict__[name]
        signature = inspect.signature(original)
        session = self._session

        @functools.wraps(original)
        def method(pipeline: Any, *args: Any, **options: Any) -> Any:
            try:
                bound = dict(signature.bind(pipeline, *args, **options).arguments)
            except TypeError:
                return original(pipeline, *args, **options)
            frame = sys._getframe(1)  # noqa: SLF001
            given = {key: readable(_number(value)) for key, value in bound.items() if key not in {"self", "kwargs"}}
            made = None
            if name == "shuffle" and session.order.of_user(frame, SHUFFLES):
                seed = given.get("seed")  # without one, each pipeline has an order of its own
                state = len(session.order.permutations) if seed is None else f"seed {seed}"
                apart = session.order.note("tf.data.shuffle", int(given.get("buffer_size") or 0), frame, state)
                if session.order.identity:
                    made = _turned(pipeline) if apart else pipeline.take(-1)
            if made is None:
                made = original(pipeline, *args, **options)
            stage = {"method": name, "place": session.places.here(frame), **given}
            if name == "shuffle":  # of how many the buffer is; negative where that is infinite or unknown
                stage["of"] = int(pipeline.cardinality())
            before = made if name == "apply" else pipeline  # what is applied has stages of its own
            made._watched_stages = [*getattr(before, "_watched_stages", []), stage]  # noqa: SLF001
            return made

        setattr(owner, name, method)

    def _wrap_zip(self, dataset: Any) -> None:
        original, flatten = dataset.zip, self._tensorflow.nest.flatten
        owner = next(base for base in dataset.__mro__ if "zip" in base.__dict__)

        @functools.wraps(original)
        def zipped(*args: Any, **options: Any) -> Any:
            made = original(*args, **options)
            parts = flatten([*args, *options.values()])
            made._watched_stages = [stage for part in parts for stage in getattr(part, "_watched_stages", [])]  # noqa: SLF001
            return made

        owner.zip = staticmethod(zipped)

    def _note(self, pipeline: Any) -> None:
        """A pipeline that is read from."""
        stages = getattr(pipeline, "_watched_stages", None)
        if not stages or id(pipeline) in self._noted:
            return
        self._noted.add(id(pipeline))
        batches = [stage for stage in stages if stage["method"] in {"batch", "padded_batch", "ragged_batch"}]
        shuffles = [stage for stage in stages if stage["method"] == "shuffle"]
        self._session.data["loaders"].append({
            "kind": "tf.data", "batch_size": batches[-1].get("batch_size") if batches else None,
            "shuffle": bool(shuffles), "buffer_size": shuffles[-1].get("buffer_size") if shuffles else None,
            "drop_last": bool(batches[-1].get("drop_remainder", False)) if batches else False,
            "repeated": any(stage["method"] == "repeat" for stage in stages),
            "num_batches": int(pipeline.cardinality()), "stages": stages,
            "place": (batches or stages)[-1]["place"],
        })  # fmt: skip


def _turned(pipeline: Any) -> Any:
    """A pipeline whose first elements are turned round, as `order.turn` does it with an array."""
    made = pipeline.skip(HEAD - 1).take(1)
    for number in reversed(range(HEAD - 1)):
        made = made.concatenate(pipeline.skip(number).take(1))
    return made.concatenate(pipeline.skip(HEAD))


def serve_datasets(session: Session) -> None:
    """`keras.datasets` as it is, but MNIST from the package's archive and others from its cache, without a network."""
    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "imdb", "reuters", "boston_housing",
                 "california_housing"):  # fmt: skip
        module: Any = importlib.import_module(f"keras.src.datasets.{name}")
        original = module.get_file
        noted = f"keras.datasets.{name}"

        def get_file(
            *args: Any, _name: str = name, _noted: str = noted, _original: Any = original, **given: Any
        ) -> Any:
            if not any(entry["name"] == _name for entry in session.data["datasets"]):
                session.data["datasets"].append({
                    "name": _name, "num_samples": None, "transforms": None, "function": _noted,
                    "place": session.places.here(sys._getframe(1)),  # noqa: SLF001
                })  # fmt: skip
            fname = given.get("fname", args[0] if args else None)
            return _served(_name, str(fname), given.get("cache_subdir")) or _original(*args, **given)

        module.get_file = get_file


def _served(name: str, file: str, folder: str | None) -> str | None:
    """The path of a file that stands in for one that the user's own cache does not have."""
    own = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    if (own / (folder or "datasets") / file).exists():
        return None
    if name == "mnist":
        return str(ARCHIVE)
    if name != "fashion_mnist":
        return None
    from recipe.datasets import cached

    archive = cached("fashion_mnist")
    if not archive.exists():
        return None
    import gzip
    import tempfile

    key = {"train-im": "x_train", "train-la": "y_train", "t10k-ima": "x_test", "t10k-lab": "y_test"}[file[:8]]
    with np.load(archive) as arrays:
        values = arrays[key].astype(np.uint8)
    made = Path(tempfile.mkdtemp(dir=Path.cwd())) / file
    with gzip.open(made, "wb", compresslevel=1) as out:
        out.write(b"\0" * (16 if values.ndim == 3 else 8) + values.tobytes())
    return str(made)


def _number(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value
