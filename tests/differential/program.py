"""The program under test, for the scripts beside this one."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Briquette:
    def __init__(self, program=None):
        if program is None:
            subprocess.run(["cargo", "build", "--quiet", "-p", "briquette"], cwd=REPOSITORY, check=True)
            program = REPOSITORY / "target/debug/briquette"
        self.program = str(program)

    def __call__(self, *arguments):
        """Standard output; the script ends if the program fails."""
        run = subprocess.run([self.program, *map(str, arguments)], capture_output=True, encoding="utf-8")
        if run.returncode != 0:
            raise RuntimeError(f"briquette {' '.join(map(str, arguments))[:200]}: {run.stderr.strip()}")
        return run.stdout


def add_option(parser):
    parser.add_argument("--briquette", metavar="PROGRAM", help="the program; built with cargo if absent")


def finish(failures):
    sys.exit(1 if failures else 0)
