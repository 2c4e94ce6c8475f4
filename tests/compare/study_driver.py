"""`python study_driver.py CANNED MODE SEED SECONDS ARGUMENTS`: `compare` with quick.sh in place of both frameworks."""

import os
import sys

import compare.__main__ as program
from compare import api
from compare.study import cluster
from tests.compare.quick import quick

if __name__ == "__main__":  # Dask's workers import this file
    api.keras = lambda *_: quick("keras", sys.argv[1], seconds=sys.argv[4])
    api.lightning = lambda *_: quick("lightning", *sys.argv[1:5])
    if seconds := os.environ.get("STUDY_SECONDS_TO_ANSWER"):
        cluster._SECONDS_TO_ANSWER = float(seconds)  # noqa: SLF001
    sys.exit(program.main(sys.argv[5:]))
