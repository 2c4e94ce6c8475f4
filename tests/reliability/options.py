"""Option values that nothing can be done with: a line, before it nothing, and nothing begun."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonargparse

import compare.__main__ as compare_program
import keras_impl.__main__ as keras_program
from tests.conftest import ROOT, run_python
from tests.reliability.experiment import ended_in_one_line, experiment, first_words, is_one_line

ODD = (
    *(
        "",
        " ",
        "-1",
        "0",
        "1.5",
        "1e999",
        "nan",
        "-inf",
        "99999999999999999999",
        "null",
        "true",
        "ß☃",
        "[",
        "{",
        "]",
        "a: b",
    ),
    *(
        "[1,",
        "{a: }",
        "- x",
        "!!python/object/apply:os.system [ls]",
        "&a [*a]",
        "${oc.env:HOME}",
        "\x1b[31m",
        "x" * 10_000,
    ),
    *(
        "a\nb",
        "../..",
        "/dev/null",
        "@file",
        "'",
        '"',
        "%s",
        "{0}",
        "[/red]",
        "1,2",
        "[[1]]",
        "--",
        "2026-01-01",
        "0x10",
    ),
)


def _options(parser: jsonargparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Every command that takes a configuration, with each of its options that have a value."""
    subparsers = parser._subcommands_action._name_parser_map  # type: ignore[union-attr]
    for command, subparser in subparsers.items():
        names = {name for action in subparser._actions for name in action.option_strings if action.nargs != 0}
        if "--config" in names:
            yield from ((command, name) for name in sorted(names) if name not in ("--config", "--print_config"))


def _ended(run: Callable[[], object]) -> tuple[int | None, str]:
    """How a program ends in this process: the exit code, and what it says on standard error."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            exit_code = run()
        except SystemExit as ended:
            exit_code = ended.code
    return exit_code if isinstance(exit_code, int) else 0, errors.getvalue()


PROGRAMS = {
    "mnist-compare": (compare_program.parser, compare_program.main),
    "mnist-keras": (keras_program.parser, keras_program.main),
}


@experiment(
    "Options",
    "an odd value for an option of `mnist-compare run`, `align`, `study` and `mnist-keras fit`",
    "it is taken, or exit code 2 and one line that names the option, before it nothing",
    few=100,
    many=6000,
)
def odd_values(directory: Path, n: int) -> list[str]:
    failures, chance = [], random.Random(n)
    with contextlib.chdir(directory):
        asked = [(name, *option) for name, (parser, _) in PROGRAMS.items() for option in _options(parser())]
        for _ in range(n):
            (name, command, option), value = chance.choice(asked), chance.choice(ODD)
            words = [command, option, value, "--print_config"]
            try:
                exit_code, errors = _ended(lambda words=words, name=name: PROGRAMS[name][1](words))
            except Exception as error:
                failures.append(f"{name} {words}: {first_words(error)}")
                continue
            if exit_code != 0 and (wrong := is_one_line(exit_code, errors)) is not None:
                failures.append(f"{name} {words[:3]}: {wrong}")
    return failures


REFUSED = {
    "--trainer.strategy": ("ddpp", "horovod", "deepspeed_stage_9", "tpu_spawn", "1", "[]"),
    "--trainer.accelerator": ("cpuu", "tpu", "gpu", "3"),
    "--trainer.devices": ("-3", "0", "many", "1.5"),
    "--trainer.precision": ("13", "bf17", "transformer-engine", "int8"),
    "--trainer.profiler": ("fastest", "3"),
    "--trainer.max_epochs": ("-5", "1.5", "many"),
    "--trainer.limit_train_batches": ("-1", "1.5", "all"),
    "--trainer.limit_val_batches": ("2.5",),
    "--trainer.overfit_batches": ("-3",),
    "--trainer.val_check_interval": ("-1", "1.7"),
    "--trainer.accumulate_grad_batches": ("0", "-1"),
    "--trainer.gradient_clip_algorithm": ("sideways",),
    "--trainer.num_nodes": ("0", "-1"),
    "--trainer.max_time": ("tomorrow",),
    "--trainer.logger": ("NoSuchLogger", "lightning.pytorch.loggers.Nothing"),
    "--trainer.callbacks": ("NoSuchCallback",),
    "--trainer.plugins": ("NoSuchPlugin",),
    "--trainer.inference_mode": ("perhaps",),
    "--optimizer": ("NoSuchOptimizer",),
    "--lr_scheduler": ("NoSuchScheduler",),
    "--seed_everything": ("-1.5", "yes please"),
    "--ckpt_path": ("missing.ckpt", "", "."),
    "--model.steps_per_execution": ("0", "-1", "few"),
    "--checkpoints": ("",),
    "--recipe.dataset": ("", "missing.npz", "https://example.org/mnist.npz"),
    "--recipe.hidden_sizes": ("[1000000,1000000]", "[0]", "[-1]", "many"),
    "--no.such.option": ("1",),
    "--trainer.stratgy": ("ddp",),
}
"""Values that Lightning's command line has to refuse, or at least cannot train with."""


FORKS = """
import json, os, signal, sys
from pathlib import Path
import lightning_impl.__main__ as program
ended = []
for number, words in enumerate(json.loads(Path("words.json").read_text())):
    place = Path(f"try-{number}")
    place.mkdir()
    if not (child := os.fork()):
        signal.alarm(120)
        os.chdir(place)
        os.dup2(os.open("../out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open("../errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.argv = ["mnist-lightning", *words]
        try:
            program.main()
            code = 0
        except SystemExit as error:
            code = error.code
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended.append([status, Path("errors").read_text(errors="replace"), sorted(path.name for path in place.iterdir())])
    Path("ended.json").write_text(json.dumps(ended))
"""
"""Runs the program's main in a fork for every list of words: importing torch is most of what a start costs."""


@experiment(
    "Options",
    "a value that `mnist-lightning fit` cannot train with: strategies, devices, precisions, classes, sizes",
    "exit code 2, one line, and nothing is left behind",
    few=12,
    many=sum(map(len, REFUSED.values())),
)
def refused_by_lightning(directory: Path, n: int) -> list[str]:
    values = [(option, value) for option, all_values in REFUSED.items() for value in all_values]
    values = values[:: -(-len(values) // n)]
    on_the_cpu = ("--trainer.accelerator", "cpu")
    words = [["fit", *(() if on_the_cpu[0] == option else on_the_cpu), f"{option}={value}"] for option, value in values]
    (directory / "words.json").write_text(json.dumps(words))
    process = run_python("-c", FORKS, cwd=directory, timeout=3000)
    ended = json.loads((directory / "ended.json").read_text())
    failures = [] if len(ended) == len(words) else [f"only {len(ended)} tries: {process.stderr[-300:]}"]
    for (option, value), (exit_code, errors, left) in zip(values, ended, strict=False):
        last_line = (errors.strip().splitlines() or [""])[-1]
        wrong = is_one_line(exit_code, last_line)
        if wrong or "Traceback" in errors or left:
            failures.append(f"{option}={value}: {wrong or ''} {f'left {left}' if left else ''} {errors[-200:]}")
    return failures


@experiment(
    "Options",
    "bytes that are no UTF-8, an empty `--out`, and hidden sizes that take terabytes, at each program",
    "exit code 2 and one line; no directory is made",
    few=3,
    many=9,
)
def slips(directory: Path, n: int) -> list[str]:
    huge = ("--recipe.hidden_sizes", "[1000000,1000000]")
    cases: list[tuple[str, list[str | bytes]]] = [
        ("compare", ["run", "--out", b"caf\xe9"]),
        ("compare", ["align", "--out", ""]),
        ("compare", ["run", *huge]),
        ("keras_impl", ["fit", "--checkpoints", b"caf\xe9"]),
        ("keras_impl", ["fit", "--checkpoints", ""]),
        ("keras_impl", ["fit", *huge]),
        ("lightning_impl", ["fit", "--checkpoints", b"caf\xe9"]),
        ("lightning_impl", ["fit", *huge]),
        ("compare", ["report", b"caf\xe9"]),
    ]
    failures = []
    for room, words in cases[:n]:
        command = [sys.executable, "-m", room, *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=300, check=False)
        text = subprocess.CompletedProcess(command, process.returncode, "", process.stderr.decode("utf-8", "replace"))
        wrong, left = ended_in_one_line(text), [path.name for path in directory.iterdir()]
        if wrong or left:
            failures.append(f"{room} {words}: {wrong or ''} {f'left {left}' if left else ''}")
    return failures
