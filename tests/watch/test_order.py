"""The orders that a script draws, in a process that imports no framework."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRAW = """
    import random
    import numpy as np
    from watch.program.order import Order

    class Places:
        def here(self, frame): return None
        def file(self, code): return "script.py"

    order = Order(Places(), lambda: "before step 0", identity=True)
    order.steer()
    x, y, n = np.arange(20), np.arange(20), list(range(20))
    m = list(n)
    rng = np.random.default_rng(0)
    {draw}
    print([bool(entry.get("apart")) for entry in order.permutations], x[:9].tolist(), y[:9].tolist(), m[:9])
"""
SAME, TURNED = list(range(9)), [7, 6, 5, 4, 3, 2, 1, 0, 8]


@pytest.mark.parametrize(
    ("draw", "turned"),
    [
        ("rng.shuffle(x); rng.shuffle(y)", "y"),
        ("x = x[rng.permutation(20)]; y = y[rng.permutation(20)]", "y"),
        ("np.random.shuffle(x); np.random.shuffle(y)", "y"),
        ("random.shuffle(n); random.shuffle(m)", "m"),
        ("rng.shuffle(x); rng.shuffle(np.arange(19))", ""),  # of another number
        ("p = rng.permutation(20); x, y = x[p], y[p]", ""),
        ("np.random.default_rng(1).shuffle(x); np.random.default_rng(1).shuffle(y)", ""),
        ("np.random.default_rng(1).shuffle(x); np.random.default_rng(2).shuffle(y)", "y"),
        ("s = rng.bit_generator.state; rng.shuffle(x); rng.bit_generator.state = s; rng.shuffle(y)", ""),
        ("mix = lambda a: rng.shuffle(a); mix(x); mix(y)", "y"),  # a function that is called once for each
        ("made = lambda: rng.shuffle(x); began = lambda: rng.shuffle(y); made(); began()", ""),  # one that replaces it
        ("np.random.seed(1); np.random.shuffle(x); np.random.seed(1); np.random.shuffle(y)", ""),
        ("s = np.random.get_state(); np.random.shuffle(x); np.random.set_state(s); np.random.shuffle(y)", ""),
        ("r = np.random.RandomState; r(3).shuffle(x); r(3).shuffle(y)", ""),
        ("random.seed(1); random.shuffle(n); random.seed(1); random.shuffle(m)", ""),
        ("s = random.getstate(); random.shuffle(n); random.setstate(s); random.shuffle(m)", ""),
        ("random.Random(4).shuffle(n); random.Random(4).shuffle(m)", ""),
        ("random.SystemRandom().shuffle(n); random.SystemRandom().shuffle(m)", ""),
    ],
)
def test_an_order_that_is_not_the_one_before_it_turns_the_front_round(draw: str, turned: str) -> None:
    """Samples and labels keep together where both have one order, and do not where each has its own."""
    source = textwrap.dedent(DRAW).replace("{draw}", draw)
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    arrays = [TURNED if name == turned else SAME for name in ("x", "y", "m")]
    assert done.stdout.strip().partition("] ")[2] == " ".join(map(str, arrays))
