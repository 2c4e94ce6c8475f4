"""Runs the implementations, judges them by their records, reports. No framework is imported here.

`from compare import run, align, study, explain`: the command line's jobs as functions that return what they found.
"""

from compare.api import align, explain, run, show, study
from compare.explanation.findings import Explanation
from compare.findings import Agreement, Comparison, Difference, Divergence, ImplementationFindings, Pair
from compare.ladder.rung import Rung
from compare.statistics import Effect
from compare.study.findings import (
    AccuracyFindings,
    AttributionFindings,
    ChurnFindings,
    EquivalenceFindings,
    RunFindings,
    Study,
)
from recipe import Recipe, RecipeError
from recipe.errors import BadArgumentError, BadInputError, DataError, RecordError

__all__ = [
    "AccuracyFindings",
    "Agreement",
    "AttributionFindings",
    "BadArgumentError",
    "BadInputError",
    "ChurnFindings",
    "Comparison",
    "DataError",
    "Difference",
    "Divergence",
    "Effect",
    "EquivalenceFindings",
    "Explanation",
    "ImplementationFindings",
    "Pair",
    "Recipe",
    "RecipeError",
    "RecordError",
    "RunFindings",
    "Rung",
    "Study",
    "align",
    "explain",
    "run",
    "show",
    "study",
]
