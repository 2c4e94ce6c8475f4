"""`python study_driver.py CANNED MODE SEED SECONDS ARGUMENTS`: `compare` with quick.sh in place of both frameworks."""

import sys

import compare.__main__ as program
from compare import api
from tests.compare.quick import quick

if __name__ == "__main__":  # Dask's workers import this file
    api.keras = lambda *_: quick("keras", sys.argv[1], seconds=sys.argv[4])
    api.lightning = lambda *_: quick("lightning", *sys.argv[1:5])
    sys.exit(program.main(sys.argv[5:]))
