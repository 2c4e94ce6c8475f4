"""Completion of the programs' command lines in bash, from the scripts that shtab makes of each one's options."""

import os
import subprocess
from importlib.util import find_spec

from recipe.errors import BadInputError, last_error
from recipe.own_process import own_command, search_path

PROGRAMS = {"mnist-compare": "compare", "mnist-keras": "keras_impl", "mnist-lightning": "lightning_impl"}
"""The installed scripts, and what `python -m` runs in their place."""

# shtab completes a command of one word: `python -m compare` becomes one, and the word that is completed moves up.
_DISPATCH = """
_mnist_parity() {
  COMPREPLY=()
  [[ ${COMP_WORDS[1]} == -m ]] || return
  if (( COMP_CWORD == 2 )); then
    COMPREPLY=( $(compgen -W "%s" -- "${COMP_WORDS[2]}") )
  elif declare -F "_shtab_python__m_${COMP_WORDS[2]}" >/dev/null; then
    local program="_shtab_python__m_${COMP_WORDS[2]}"
    COMP_WORDS=("python -m ${COMP_WORDS[2]}" "${COMP_WORDS[@]:3}")
    COMP_CWORD=$(( COMP_CWORD - 2 ))
    "$program"
  fi
}
complete -o bashdefault -o default -F _mnist_parity python python3
"""

# An installed script is completed as `python -m` of its package.
_DISPATCH_SCRIPT = """
_{function}() {{
  COMP_WORDS=("python -m {package}" "${{COMP_WORDS[@]:1}}")
  _shtab_python__m_{package}
}}
complete -o bashdefault -o default -F _{function} {script}
"""


def script() -> str:
    """The script, to be sourced; in it is what the options are now.

    Raises:
        BadInputError: shtab is not installed, or a program cannot say its options.
    """
    if find_spec("shtab") is None:
        raise BadInputError("completion needs shtab; in the clone: pip install '.[completion]'")
    scripts = [
        _DISPATCH_SCRIPT.format(script=name, function=name.replace("-", "_"), package=package)
        for name, package in PROGRAMS.items()
    ]
    return "\n".join([*map(_functions, PROGRAMS.values()), _DISPATCH % " ".join(PROGRAMS.values()), *scripts])


def _functions(program: str) -> str:
    """The program's functions, without the last line, which ties them to a command."""
    process = subprocess.run(
        own_command(program, "--print_completion", "shtab-bash"),
        env={**os.environ, "PYTHONPATH": search_path(), "JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise BadInputError(f"{program} cannot say its options: {last_error(process.stderr)}")
    return process.stdout[: process.stdout.rindex("\ncomplete ")]
