"""Has a fork do what `python ARGUMENTS` would, see `fork_server.py`: `fork_client.py PYTHON DIRECTORY ARGUMENTS`."""

import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path

FORK_FROM = "FORK_FROM"
"""The environment variable that names the kind for `-c CODE`."""

ACROSS_SESSIONS = "FORK_ACROSS_SESSIONS"
"""The environment variable that asks for forks which no signal to the caller's process group reaches."""

OWN_SCRIPTS = {"driver.py": "compare", "stand_in.py": "pytest"}
"""The kind of a script of the tests, by its name."""


def kind(words: list[str], named: str | None) -> str | None:
    """What a program imports for the most of its time; None where no fork will do, as JAX reads its settings then."""
    words = words[1:] if words[0] == "-P" else words
    if words[0] == "-c":
        return named
    if words[0] != "-m":
        return OWN_SCRIPTS.get(Path(words[0]).name)
    module, *rest = words[1:]
    if module == "compare":
        return "compare"
    if module.startswith("lightning_impl"):
        return "lightning"
    if module.startswith("keras_impl"):
        backends = [word for word in rest if word in ("torch", "jax")]
        return {"torch": "torch", "jax": None}[backends[0]] if backends else "tensorflow"
    if module == "watch.torch_script":
        return "torch"
    if module == "watch.keras_script":
        return _kind_of_watched(json.loads(Path(rest[0]).read_text()))
    return None


def _kind_of_watched(request: dict) -> str | None:
    """The kind of a script that is watched; None where it may choose Keras's backend, or need torch for its data."""
    script = Path(request["script"])
    own = script.read_text(errors="replace") + " ".join(request.get("arguments", ()))
    beside = "".join(path.read_text(errors="replace") for path in script.parent.glob("*.py"))
    if "torch" in own or "jax" in own or "KERAS_BACKEND" in own + beside:
        return None
    tensorflow = "tensorflow-without-onednn" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else "tensorflow"
    return {"tensorflow": tensorflow, "torch": "torch", "jax": None}[os.environ.get("KERAS_BACKEND", "tensorflow")]


def main() -> None:
    """Ends as the fork ends."""
    python, directory, *words = sys.argv[1:]
    chosen = kind(words, os.environ.pop(FORK_FROM, None))
    same_session = Path(directory, "session").read_text() == str(os.getsid(0))  # whose process groups a fork may enter
    if chosen is None or not (same_session or os.environ.pop(ACROSS_SESSIONS, None)):
        os.execv(python, [python, *words])  # noqa: S606
    request = {
        "arguments": words, "cwd": str(Path.cwd()), "environment": dict(os.environ), "group": os.getpgrp(),
        "umask": os.umask(0), "program": f"{directory}/python",
    }  # fmt: skip
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork is in this group, and gets it too
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{directory}/{chosen}")
    socket.send_fds(server, [b" "], [0, 1, 2])
    server.sendall(json.dumps(request).encode() + b"\n")
    with server.makefile() as answers:
        process = int(answers.readline())
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(process, number))
        ended = int(answers.readline())
    if ended >= 0:
        os._exit(ended)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -ended != signal.SIGKILL:
        signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)


if __name__ == "__main__":
    main()
