import re
import typing
from collections import Counter
from pathlib import Path

import pytest

from compare.explanation.findings import Stage
from tests.explain.faults import FAULTS, Fault
from tests.explain.inherent import INHERENT
from tests.explain.zoo import PAIR_NAMES, SCRIPTS, answer, changed_lines, faulty, script, words, write_pair

FEW_PAIRS = ("cnn_batchnorm", "lstm_series")
FEW_FAULTS = (
    "not shuffled in an own loop",
    "forget gate starts at zero",
    "padded at the wrong side",
    "divided by the sum of the weights",
    "base not frozen",
    "no Nesterov",
    "schedule by epochs, not by steps",
    "more patience",
    "more noise in the step",
)
BY_NAME = {fault.name: fault for fault in FAULTS}


def identity(fault: Fault) -> str:
    return fault.name.replace(" ", "_")


def test_there_are_enough_pairs_and_faults() -> None:
    assert len(PAIR_NAMES) >= 18
    assert len(FAULTS) >= 70


def test_inherent_differences_are_stated_of_every_clean_pair() -> None:
    assert tuple(INHERENT) == PAIR_NAMES


def test_names_of_faults_are_unique() -> None:
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


def test_every_pair_is_two_scripts_that_compile() -> None:
    for pair in PAIR_NAMES:
        for name in SCRIPTS:
            compile(script(pair, name.removesuffix(".py")), f"{pair}/{name}", "exec")


def test_the_text_that_a_fault_replaces_occurs_once_and_the_rest_compiles() -> None:
    for fault in FAULTS:
        assert fault.pair in PAIR_NAMES, fault.name
        changed = faulty(fault)
        assert changed != script(fault.pair, fault.side), fault.name
        compile(changed, fault.name, "exec")


def test_stages_and_regular_expressions_of_faults_can_match() -> None:
    for fault in FAULTS:
        assert fault.stages, fault.name
        assert set(fault.stages) <= set(typing.get_args(Stage)), fault.name
        for pattern in (*fault.causes, fault.place):
            re.compile(pattern)


def test_every_stage_has_faults() -> None:
    assert {stage for fault in FAULTS for stage in fault.stages} == set(typing.get_args(Stage))


def test_a_fault_changes_only_its_own_script_and_lines(tmp_path: Path) -> None:
    for number, fault in enumerate(FAULTS):
        pair = write_pair(fault.pair, tmp_path / str(number), fault)
        changed = {path.stem for path in pair if path.read_text(encoding="utf-8") != script(fault.pair, path.stem)}
        assert changed == {fault.side}, fault.name
        before = script(fault.pair, fault.side).splitlines()
        after = (tmp_path / str(number) / f"{fault.side}.py").read_text(encoding="utf-8").splitlines()
        first = changed_lines(fault).start - 1
        assert before[:first] == after[:first], fault.name


def holds_clean(pair: str, directory: Path) -> None:
    found = answer(pair, directory)
    assert found.others == ()
    assert found.explanation.verdict == "same", found.explanation.unpaired
    inherent = "\n".join(words(finding) for finding in found.explanation.findings)
    assert [known for known in INHERENT[pair] if not re.search(known, inherent, re.IGNORECASE)] == []


def holds_named(fault: Fault, directory: Path) -> None:
    found = answer(fault.pair, directory, fault)
    assert found.named, found.to_dict()
    assert found.explanation.verdict == "different"


@pytest.mark.parametrize("pair", FEW_PAIRS)
def test_no_false_alarm_on_a_clean_pair(pair: str, tmp_path: Path) -> None:
    holds_clean(pair, tmp_path)


@pytest.mark.parametrize("name", FEW_FAULTS)
def test_a_fault_is_found_with_its_cause(name: str, tmp_path: Path) -> None:
    holds_named(BY_NAME[name], tmp_path)


@pytest.mark.zoo
@pytest.mark.parametrize("pair", [pair for pair in PAIR_NAMES if pair not in FEW_PAIRS])
def test_no_false_alarm_on_any_clean_pair(pair: str, tmp_path: Path) -> None:
    holds_clean(pair, tmp_path)


@pytest.mark.zoo
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name not in FEW_FAULTS], ids=identity)
def test_every_fault_is_found_with_its_cause(fault: Fault, tmp_path: Path) -> None:
    holds_named(fault, tmp_path)
