"""What the programs state and a few steps do not show: epochs, early stopping, restored weights, validation."""

from typing import Any

from compare.explanation.context import Context
from compare.explanation.feeding.reading import training_loader
from compare.explanation.findings import Place
from compare.explanation.observed.observation import Observation, place
from compare.explanation.words import counted


def stated(context: Context) -> None:
    """Finds what differs in what is only stated."""
    _epochs(context)
    _callbacks(context)
    _validation(context)
    _statistics(context)


def _epochs(context: Context) -> None:
    sides = [observation.part("data", "epochs") or {} for observation in (context.guide.observation, context.look)]
    a, b = (side.get("value") for side in sides)
    if not isinstance(a, int) or not isinstance(b, int) or a == b or a < 1 or b < 1:
        return
    title = context.differs("number of epochs:", str(a), str(b))
    context.find(
        "stated",
        title,
        guide=f"{counted(a, 'epoch')} ({sides[0].get('how')})",
        steered=f"{counted(b, 'epoch')} ({sides[1].get('how')})",
        places=(
            context.guide.observation.place("data", "fit", "place"),
            context.look.place("data", "fit", "place") or _loop_place(context.look),
        ),
        effect=0.5,
        cause=title,
        mend=counted(a, "epoch"),
    )


def _loop_place(observation: Observation) -> Place | None:
    loops = observation.entries("data", "epochs", "loops")
    return place(loops[0].get("place")) if loops and isinstance(loops[0], dict) else None


def _callbacks(context: Context) -> None:
    """Early stopping and its settings; other callbacks by name where both sides have such a thing."""
    a, b = _stopping(context.guide.observation), _stopping(context.look)
    if a is None and b is None:
        return
    places = (context.guide.observation.place("data", "fit", "place"), context.look.place("optimizer", "place"))
    if a is None or b is None:
        if context.look.part("data", "trainer") is None and context.guide.observation.part("data", "trainer") is None:
            # A loop of one's own may stop early by itself, which a few steps do not show.
            context.not_seen.append("early stopping, which one side states and a loop may have by itself")
            return
        what = "early stopping"
        title = context.missing(what, "in the port") if a else context.added(what, "")
        context.find(
            "stated", title, guide=str(a or "none"), steered=str(b or "none"), places=places, effect=0.3, cause=title,
        )  # fmt: skip
        return
    for key in ("patience", "min_delta", "mode", "monitor", "restore_best_weights"):
        x, y = a.get(key), b.get(key)
        if x is None or y is None or x == y or (key in ("mode", "monitor")):
            continue
        title = context.differs(f"early stopping: {key}", str(x), str(y))
        context.find("stated", title, guide=str(x), steered=str(y), places=places, effect=0.2, cause=title)


def _stopping(observation: Observation) -> dict[str, Any] | None:
    for path in (("data", "fit", "callbacks"), ("data", "trainer", "callbacks")):
        for callback in observation.entries(*path):
            if "EarlyStopping" in str(callback.get("class")):
                return dict(callback.get("settings") or {})
    return None


def _validation(context: Context) -> None:
    """Samples that are trained on and validated on."""
    a = context.guide.observation.part("data", "validation_overlap")
    b = context.look.part("data", "validation_overlap")
    if not isinstance(a, int | float) or not isinstance(b, int | float) or abs(a - b) < 0.01:
        return
    title = context.differs("share of the validation samples that are trained on (leak):", f"{a:.0%}", f"{b:.0%}")
    context.find(
        "data",
        title,
        guide=f"{a:.0%}",
        steered=f"{b:.0%}",
        places=(context.guide.observation.place("data", "fit", "place"), _loader_place(context.look)),
        effect=0.4,
        cause="training and validation samples overlap",
    )


def _loader_place(observation: Observation) -> Place | None:
    return place(training_loader(observation).get("place"))


def _statistics(context: Context) -> None:
    context.not_seen.append(f"what begins after {counted(len(context.steered.observation.updates), 'step')}")
