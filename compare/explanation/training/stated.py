"""What the programs state and a few steps do not show: epochs, early stopping, restored weights, validation."""

from compare.explanation.context import Context
from compare.explanation.feeding.reading import num_epochs, num_steps, training_loader
from compare.explanation.findings import Place, joined
from compare.explanation.observed.observation import Observation, place
from compare.explanation.training.callbacks import plateau, stopping
from compare.explanation.words import counted


def stated(context: Context) -> None:
    """Finds what differs in what is only stated."""
    _epochs(context)
    stopping(context)
    plateau(context)
    _held_out(context)
    _validation(context)


def _epochs(context: Context) -> None:
    """How long is trained: in epochs, or in steps where one side has no epochs."""
    observations = context.guide.observation, context.look
    what, (a, b) = "epoch", [num_epochs(observation) for observation in observations]
    if a is None or b is None:
        what, (a, b) = "step", [num_steps(observation) for observation in observations]
    if a is None or b is None or a == b:
        return
    sides = [observation.part("data", "epochs") or {} for observation in observations]
    title = context.differs(f"number of {what}s:", str(a), str(b))
    context.find(
        "stated",
        title,
        guide=f"{counted(a, what)} ({sides[0].get('how')})",
        steered=f"{counted(b, what)} ({sides[1].get('how')})",
        places=(
            context.guide.observation.place("data", "fit", "place"),
            context.look.place("data", "fit", "place") or _loop_place(context.look),
        ),
        effect=0.5,
        cause=title,
        mend=counted(a, what),
    )


def _loop_place(observation: Observation) -> Place | None:
    loops = observation.entries("data", "epochs", "loops")
    return place(loops[0].get("place")) if loops and isinstance(loops[0], dict) else None


def _held_out(context: Context) -> None:
    """Which samples are held out: the last ones, as `validation_split` takes them, or some at random."""
    sides = [_chosen(observation) for observation in (context.guide.observation, context.look)]
    if None in sides or sides[0] == sides[1]:
        return
    texts = [f"{words} of the samples" for words in sides]
    context.find(
        "data",
        context.differs("held out for validation:", texts[0], texts[1]),
        guide=texts[0],
        steered=texts[1],
        places=(_split_place(context.guide.observation), _split_place(context.look)),
        effect=0.1,
        effect_text="matters where samples are ordered, by class or by time",
        cause="another choice of validation samples",
        mend="hold out the samples that the reference holds out",
        severity="minor",
    )


def _chosen(observation: Observation) -> str | None:
    """How the validation samples are chosen, where the program lets its framework do it."""
    validation = observation.part("data", "fit", "validation")
    if isinstance(validation, dict):
        return "the last" if validation.get("kind") == "split" else None
    return "a random choice" if observation.entries("data", "splits") else None


def _split_place(observation: Observation) -> Place | None:
    splits = observation.entries("data", "splits")
    return place(splits[0].get("place")) if splits else observation.place("data", "fit", "place")


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


def trained_later(observation: Observation) -> list[Place | None]:
    """Where a program trains further after its first training, as far as is known."""
    places = [place(entry) for entry in observation.entries("data", "later")]
    return places or ([None] if observation.begins_anew is not None else [])


def later(context: Context) -> None:
    """What a run of the first steps does not show."""
    sides = (context.guide.observation, context.look)
    left = [where for side in sides for where in trained_later(side)[context.compared_trainings - 1 :]]
    if places := [str(where) for where in left if where is not None]:
        context.not_seen.append(f"the further training at {joined(places)}")
    for side, observation in (("guide", context.guide.observation), ("steered", context.steered.observation)):
        if (step := observation.begins_anew) is not None and context.compared_trainings == 1:
            name = "reference" if (side == "guide") == context.guide_is_reference else "port"
            context.unpaired.append(
                f"the further training of the {name}, by another optimizer from step {step} on, is not compared"
            )
    context.not_seen.append(f"what begins after {counted(len(context.steered.observation.updates), 'step')}")
