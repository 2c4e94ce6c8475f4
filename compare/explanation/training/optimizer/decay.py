"""Weight decay against an L2 penalty in the loss."""

from typing import Any

from compare.explanation.arithmetic.optimizers import Rule
from compare.explanation.context import Context
from compare.explanation.training.optimizer.updates import rule_of_side
from compare.explanation.training.penalties import decayed_as_penalised, l2_of, l2_penalties
from compare.explanation.words import counted


def is_penalty(context: Context, second: Rule, decay: Any) -> bool:
    """Whether weight decay through the gradient stands for an L2 penalty in the guide's loss."""
    if not decay or second.settings.get("decoupled weight decay"):
        return False
    return bool(l2_penalties(context))


def penalty_as_decay(context: Context) -> None:
    """An L2 penalty in the guide's loss against weight decay through the gradient: 2λ is the same."""
    second = rule_of_side(context.steered.observation)
    if second is not None and not second.settings.get("decoupled weight decay") and decayed_as_penalised(context):
        context.findings[:] = [f for f in context.findings if f.stage != "loss" or "L2 penalty" not in f.title]
        return
    if second is None or not is_penalty(context, second, second.settings.get("weight decay")):
        return
    decay = float(second.settings["weight decay"])
    entries = l2_penalties(context)
    lambdas = {l2_of(entry) for entry in entries}
    in_loss = [f for f in context.findings if f.stage == "loss" and "L2 penalty" in f.title]
    if not in_loss:  # the penalty is in both losses, and the decay comes on top of it
        title = context.added(f"weight decay {decay:g} on top of the L2 penalty", "in the optimizer")
        context.find("optimizer", title, guide="no weight decay", steered=f"{decay:g}", effect=0.1, cause=title)
        return
    for found in in_loss:
        context.findings.remove(found)
    places = (
        context.guide.observation.place("optimizer", "place"),
        context.steered.observation.place("optimizer", "place"),
    )
    if len(lambdas) == 1 and abs(decay / (2 * next(iter(lambdas))) - 1) <= 1e-6:
        _decayed_biases(context, {str(entry.get("parameter")) for entry in entries}, decay, places)
        return
    wanted = 2 * max(lambdas)
    title = context.differs(
        "weight decay",
        f"L2({max(lambdas):g}), which is a weight decay of {wanted:g}",
        f"{decay:g}, which is L2({decay / 2:g})",
    )
    context.find(
        "optimizer",
        title,
        guide=f"L2 penalty with factor {max(lambdas):g}",
        steered=f"weight decay {decay:g}, half of it as a factor of L2",
        places=places,
        effect=abs(decay / wanted - 1),
        effect_text=f"the penalty is {decay / wanted:.3g} times as strong",
        cause="factor 2 between L2 and weight decay",
        mend=f"weight_decay={wanted:g}",
    )


def _decayed_biases(context: Context, penalised: set[str], decay: float, places: tuple[Any, Any]) -> None:
    """Weight decay on parameters that the guide does not penalise."""
    groups = context.steered.observation.entries("optimizer", "groups")
    decayed = [
        path
        for group in groups
        for path in group.get("parameters") or ()
        if (group.get("settings") or {}).get("weight_decay")
    ]
    extra = len(decayed) - len(penalised)
    if extra <= 0:
        return
    context.find(
        "optimizer",
        context.added(f"weight decay on {extra} more parameters (biases)", "in the optimizer"),
        guide=f"L2 penalty of {counted(len(penalised), 'parameter')}",
        steered=f"weight decay {decay:g} of {counted(len(decayed), 'parameter')}",
        places=places,
        effect=min(decay, 1e-2),
        effect_text="small while biases are small",
        cause="weight decay of biases",
        mend="two groups of parameters, weight_decay=0 for biases",
        severity="minor",
    )
