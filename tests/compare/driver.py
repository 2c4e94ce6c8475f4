"""`python driver.py MODE ARGUMENTS`: the comparison with stand-ins in place of Keras and Lightning."""

import sys
from pathlib import Path

import compare.__main__ as program
from compare import api
from compare.run.implementations import Implementation

STAND_IN = str(Path(__file__).with_name("stand_in.py"))
api.keras = lambda *_: Implementation("keras", (sys.executable, STAND_IN, "--mode", sys.argv[1]))
api.lightning = lambda *_: Implementation("lightning", (sys.executable, STAND_IN))
sys.exit(program.main(sys.argv[2:]))
