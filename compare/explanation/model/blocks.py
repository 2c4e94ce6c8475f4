"""Where the blocks of a transformer normalise: what they are given (pre-LN), or what comes out of the sum (post-LN)."""

import re

from compare.explanation.context import Context
from compare.explanation.observed.kinds import ATTENTION, kind_of
from compare.explanation.observed.observation import Layer
from compare.explanation.observed.sides import Side

_NORMS = ("layer normalization", "RMS normalization")
_WORDS = {
    True: "before attention and feed-forward (pre-LN, norm_first=True)",
    False: "after the sum with what goes by them (post-LN, norm_first=False)",
}


def other_order_of_norms(context: Context) -> bool:
    """Says of blocks that normalise at another place than the reference's; whether they do.

    Layers of such blocks take and give other things on both sides, so that there is no more to compare of them.
    """
    pairs = [pair for pair in context.pairing.pairs if pair.kind == ATTENTION]
    both = [
        [_comes_first(side, pair.guides if i == 0 else pair.ports) for pair in pairs]
        for i, side in enumerate((context.guide, context.steered))
    ]
    if not pairs or None in (*both[0], *both[1]) or len({*both[0]}) > 1 or len({*both[1]}) > 1 or both[0] == both[1]:
        return False
    guide, steered = bool(both[0][0]), bool(both[1][0])
    first = pairs[0]
    line = next((place for name in _norms(context.steered) if (place := context.steered.layers[name].place)), None)
    built_in = line is not None and re.search(r"Transformer(Encoder|Decoder)Layer\(|norm_first", line.code)
    written = {
        True: "x = x + attention(norm(x)), and so the feed-forward part",
        False: "x = norm(x + attention(x)), and so the feed-forward part",
    }
    title = context.differs("normalisation", _WORDS[guide], _WORDS[steered])
    context.find(
        "forward",
        title,
        guide=_WORDS[guide],
        steered=_WORDS[steered],
        places=(first.guide.place, line or first.port.place),
        effect=1.0,
        effect_text=f"in all blocks, of which there are {len(pairs)}" if len(pairs) > 1 else "",
        cause=title,
        mend=f"norm_first={guide}" if built_in else written[guide],
    )
    context.not_seen.append("the layers' values, since blocks normalise at another place")
    return True


def _norms(side: Side) -> list[str]:
    return [layer.name for layer in side.with_parameters if kind_of(layer) in _NORMS]


def _comes_first(side: Side, attention: tuple[Layer, ...]) -> bool | None:
    """Whether a norm is before an attention and beside what goes by it; None where that is not known.

    In a block that normalises last, what the attention takes is also what is added to what it gives.
    """
    sources, norms = side.sources, _norms(side)
    taken = sources.get(attention[0].name, frozenset())
    given = attention[-1].name
    after = next((name for name in norms if given in sources.get(name, ())), None)
    if not taken or after is None:
        return None
    summed = sources[after] - {given}
    if taken <= summed:
        return False
    return True if taken <= set(norms) and summed else None
