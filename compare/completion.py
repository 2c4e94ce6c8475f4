"""Completion of the programs' command lines in bash, from the scripts that shtab makes of each one's options."""

import os
import subprocess
import sys
from importlib.util import find_spec

from recipe.errors import BadInputError, last_error

PROGRAMS = ("compare", "keras_impl", "lightning_impl")

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


def script() -> str:
    """The script, to be sourced; in it is what the options are now.

    Raises:
        BadInputError: shtab is not installed, or a program cannot say its options.
    """
    if find_spec("shtab") is None:
        raise BadInputError("completion needs shtab; in the clone: pip install '.[completion]'")
    return "\n".join([*map(_functions, PROGRAMS), _DISPATCH % " ".join(PROGRAMS)])


def _functions(program: str) -> str:
    """The program's functions, without the last line, which ties them to a command."""
    process = subprocess.run(
        [sys.executable, "-m", program, "--print_completion", "shtab-bash"],
        env={**os.environ, "JSONARGPARSE_ADD_PRINT_COMPLETION_ARGUMENT": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise BadInputError(f"{program} cannot say its options: {last_error(process.stderr)}")
    return process.stdout[: process.stdout.rindex("\ncomplete ")]
