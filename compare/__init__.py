"""Runs the implementations, judges them by their records, reports. No framework is imported here.

`from compare import run, align, study`: the command line's jobs as functions that return what they found.
"""

from compare.explanation import Explanation, explain
from compare.findings import (
    Agreement,
    Comparison,
    Difference,
    Divergence,
    ImplementationFindings,
    Pair,
)
from compare.library import align, run, study
from compare.rung import Rung
from compare.runner import BadArgumentError, BadInputError
from compare.statistics import Effect
from compare.study_findings import (
    AccuracyFindings,
    AttributionFindings,
    ChurnFindings,
    EquivalenceFindings,
    RunFindings,
    Study,
)
from recipe import Recipe, RecipeError
from recipe.mnist import DataError
from recipe.record_files import RecordError

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
    "study",
]
