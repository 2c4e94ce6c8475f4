"""All faults of the zoo of script pairs, each one a change of one line or few in a pair that is otherwise the same."""

from tests.explain.fault import Fault
from tests.explain.faults_before_training import DATA, WEIGHTS
from tests.explain.faults_forward import FAULTS_FORWARD
from tests.explain.faults_training import FAULTS_TRAINING

__all__ = ["FAULTS", "Fault"]

FAULTS: tuple[Fault, ...] = DATA + WEIGHTS + FAULTS_FORWARD + FAULTS_TRAINING
