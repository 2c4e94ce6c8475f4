"""What acts on a training by a measured value: early stopping, the best weights, ReduceLROnPlateau."""

from dataclasses import dataclass
from typing import Any

from compare.explanation.context import Context
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.training.optimizer.updates import alike

_STOPPING = "EarlyStopping"
_PLATEAU = "ReduceLROnPlateau"


@dataclass(frozen=True)
class Rule:
    """What a side does by a measured value.

    Args:
        settings: None where it does nothing of the kind.
        place: Where that stands.
    """

    settings: dict[str, Any] | None
    place: Place | None

    @property
    def words(self) -> str:
        """The settings in words."""
        if self.settings is None:
            return "none"
        return ", ".join(f"{key} {value}" for key, value in self.settings.items() if value is not None)


def stopping(context: Context) -> None:
    """Early stopping, and what becomes of the best weights."""
    a, b = _stops(context.guide.observation), _stops(context.look)
    if a is None or b is None:
        known = a or b
        if known is not None and known.settings is not None:
            context.not_seen.append("early stopping, which one side states and the other may have by itself")
            _restored(context)
        return
    if a.settings is None and b.settings is None:
        _restored(context)
        return
    if a.settings is None or b.settings is None:
        _one_sided(context, "early stopping", a, b)
        return
    other = _monitored(context, "early stopping", a, b)
    for key in ("patience", "min_delta", *(() if other else ("mode",))):
        _compare(context, "early stopping", key, a, b)
    _restored(context)


def _stops(observation: Observation) -> Rule | None:
    """When a side ends early; None where that is not known."""
    own_loop = observation.part("loop", "stopping")
    for trainer in ("fit", "trainer"):
        if isinstance(observation.part("data", trainer), dict):
            callbacks = observation.entries("data", trainer, "callbacks")
            return _callback(callbacks, _STOPPING, observation.place("data", trainer, "place"))
    if not isinstance(own_loop, dict):
        return None
    where = place(own_loop.get("place"))
    if not own_loop.get("ends_early"):
        return Rule(None, where)
    return Rule(_normal(own_loop), where) if isinstance(own_loop.get("patience"), int) else None


def _callback(callbacks: list[Any], name: str, where: Place | None) -> Rule | None:
    for callback in callbacks:
        if name in str(callback.get("class")):
            return Rule(_normal(callback.get("settings") or {}), place(callback.get("place")) or where)
    # A class of the user's own may do the same.
    return None if any(callback.get("own") for callback in callbacks) else Rule(None, where)


def _normal(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that act: a patience of 0 is one of 1, `auto` is what the monitored value's name says."""
    monitor = settings.get("monitor")
    mode, delta, patience = settings.get("mode"), settings.get("min_delta"), settings.get("patience")
    if mode not in ("min", "max"):
        mode = {"loss": "min", "accuracy": "max"}.get(_kind(monitor) or "")
    return {
        "patience": max(patience, 1) if isinstance(patience, int) else None,
        "min_delta": abs(float(delta)) if isinstance(delta, int | float) else None,
        "mode": mode,
        "monitor": monitor if isinstance(monitor, str) else None,
    }


def _kind(monitor: Any) -> str | None:
    """Whether a loss or an accuracy is monitored, by the name; None of another."""
    text = str(monitor).lower()
    return "loss" if "loss" in text else "accuracy" if "acc" in text else None


def _compare(context: Context, what: str, key: str, a: Rule, b: Rule) -> None:
    x, y = (a.settings or {}).get(key), (b.settings or {}).get(key)
    if x is None or y is None or alike(x, y):
        return
    title = context.differs(f"{what}: {key}", _text(x), _text(y))
    _tell(context, what, a, b, title, effect=0.2, mend=f"{key} {_text(x)}")


def _tell(context: Context, what: str, a: Rule, b: Rule, title: str, *, effect: float, mend: str = "") -> None:
    """A difference that is its own cause, with the whole rule of both sides."""
    context.find(
        "stated",
        title,
        guide=f"{what}: {a.words}",
        steered=f"{what}: {b.words}",
        places=(a.place, b.place),
        effect=effect,
        cause=title,
        mend=mend,
    )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _monitored(context: Context, what: str, a: Rule, b: Rule) -> bool:
    """Whether it is another value: a loss or an accuracy, of training or of validation, as far as the names tell."""
    names = [str((side.settings or {}).get("monitor")) for side in (a, b)]
    kinds = [_kind(name) for name in names]
    of_training = [("train" in name, any(word in name for word in ("val", "valid", "dev"))) for name in names]
    other_data = of_training[0] != of_training[1] and all(any(told) for told in of_training)
    if (None in kinds or kinds[0] == kinds[1]) and not other_data:
        return False
    title = context.differs(f"{what}: monitor", names[0], names[1])
    _tell(context, what, a, b, title, effect=0.2, mend=f"monitor {names[0]}")
    return True


def _one_sided(context: Context, what: str, a: Rule, b: Rule) -> None:
    title = context.missing(what, "in the port") if b.settings is None else context.added(what, "in the port")
    _tell(context, what, a, b, title, effect=0.3)


def _restored(context: Context) -> None:
    """Whether a training ends with its best weights or with its last."""
    sides = [_ends_with(observation) for observation in (context.guide.observation, context.look)]
    if sides[0] is None or sides[1] is None or sides[0][0] == sides[1][0]:
        return
    texts = [side[0] for side in sides if side is not None]
    context.find(
        "stated",
        context.differs("the weights that the training ends with (restore_best_weights):", texts[0], texts[1]),
        guide=texts[0],
        steered=texts[1],
        places=(sides[0][1], sides[1][1]),
        effect=0.25,
        cause="best weights",
        mend="best = copy.deepcopy(model.state_dict())" if "reference" in texts[1] else "",
    )


def _ends_with(observation: Observation) -> tuple[str, Place | None] | None:
    restoring = observation.part("loop", "restoring")
    loads = restoring.get("loads") if isinstance(restoring, dict) else None
    kept = restoring.get("kept") if isinstance(restoring, dict) else None
    where = place(restoring.get("place")) if isinstance(restoring, dict) else None
    for callback in observation.entries("data", "fit", "callbacks"):
        restores = (callback.get("settings") or {}).get("restore_best_weights")
        if _STOPPING in str(callback.get("class")) and (restores or loads is False):
            return "the best" if restores else "the last", place(callback.get("place"))
    if kept == "references":
        return "the last, since the best are kept by reference, without a copy", where
    if kept == "copies":
        return "the best", where
    stops = _stops(observation)
    return ("the last", stops.place if stops else None) if loads is False else None


def plateau(context: Context) -> None:
    """ReduceLROnPlateau, whose patience and threshold count otherwise in each framework."""
    a, b = _reduces(context.guide.observation), _reduces(context.look)
    if a is None or b is None or (a.settings is None and b.settings is None):
        return
    if a.settings is None or b.settings is None:
        _one_sided(context, _PLATEAU, a, b)
        return
    other = _monitored(context, _PLATEAU, a, b)
    for key in ("factor", "min_lr", "cooldown", *(() if other else ("mode",))):
        _compare(context, _PLATEAU, key, a, b)
    _waits(context, a, b)
    _threshold(context, a, b)


def _reduces(observation: Observation) -> Rule | None:
    schedulers = observation.entries("loop", "scheduler")
    for entry in schedulers:
        if entry.get("class") == _PLATEAU and entry.get("per") != "never":
            settings = entry.get("settings") or {}
            least = settings.get("min_lr", settings.get("min_lrs", settings.get("default_min_lr")))
            if isinstance(least, list):
                least = least[0] if least else None
            named = {"monitor": settings.get("monitor") or entry.get("monitor")}
            in_torch = "threshold" in settings
            delta = settings.get("threshold") if in_torch else settings.get("min_delta")
            rule = {"factor": settings.get("factor"), **_normal({**settings, "min_delta": delta, **named})}
            patience = settings.get("patience")
            waits = patience + 1 if in_torch and isinstance(patience, int) else rule["patience"]
            rule |= {
                "patience": patience, "waits": waits, "min_lr": None if least is None else float(least),
                "cooldown": settings.get("cooldown"),
                "threshold_mode": settings.get("threshold_mode") if in_torch else "abs",
            }  # fmt: skip
            return Rule(rule, place(entry.get("place")) or observation.place("data", "fit", "place"))
    own = any(callback.get("own") for callback in observation.entries("data", "fit", "callbacks"))
    if own or observation.part("loop", "sets_rate") is not False:
        return None
    return Rule(None, observation.place("data", "fit", "place") or observation.place("optimizer", "place"))


def _waits(context: Context, a: Rule, b: Rule) -> None:
    """Keras lowers the rate after as many bad epochs as its patience, torch after one more."""
    x, y = a.settings or {}, b.settings or {}
    if x.get("waits") is None or y.get("waits") is None or x["waits"] == y["waits"]:
        return
    texts = [f"{side['patience']}, which lowers it after {side['waits']} bad epochs" for side in (x, y)]
    mend = x["waits"] - 1 if context.frameworks[1] == "torch" else x["waits"]
    context.find(
        "stated",
        context.differs(f"{_PLATEAU}'s patience", texts[0], texts[1]),
        guide=f"{_PLATEAU}: {a.words}",
        steered=f"{_PLATEAU}: {b.words}",
        places=(a.place, b.place),
        effect=0.2,
        effect_text="torch waits for more bad epochs than its patience, Keras for as many",
        cause=f"patience {texts[0]} against {texts[1]}",
        mend=f"patience={mend}",
    )


def _threshold(context: Context, a: Rule, b: Rule) -> None:
    """What counts as better: by a difference in Keras, by a share of the best in torch, unless it is told otherwise."""
    x, y = a.settings or {}, b.settings or {}
    if x.get("min_delta") is None or y.get("min_delta") is None:
        return
    same = alike(x["min_delta"], y["min_delta"])
    if same and (x["threshold_mode"] == y["threshold_mode"] or not x["min_delta"]):
        return
    words = {"abs": "absolute", "rel": "of the best value"}
    texts = [f"{side['min_delta']:g} ({words.get(side['threshold_mode'], 'absolute')})" for side in (x, y)]
    context.find(
        "stated",
        context.differs(f"{_PLATEAU}'s threshold (min_delta)", texts[0], texts[1]),
        guide=f"{_PLATEAU}: {a.words}",
        steered=f"{_PLATEAU}: {b.words}",
        places=(a.place, b.place),
        effect=0.05,
        cause=f"threshold {texts[0]} against {texts[1]}",
        mend=f'threshold={x["min_delta"]:g}, threshold_mode="{x["threshold_mode"]}"'
        if context.frameworks[1] == "torch"
        else f"min_delta={x['min_delta']:g}",
        severity="minor" if same else "fault",
    )
