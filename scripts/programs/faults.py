"""Run the full set of fault tests, bounded in time, and report what was done and found."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jobqueue.store.embedded.mongod_binary import find_mongod  # noqa: E402 - the path has to be set first
from tests.support.faults.figures import total  # noqa: E402 - as above

_OPTIONS = ("-m", "full or not full", "-q", "--tb=short", "--durations=5", "--timeout=600")
OTHERS_SECONDS = 75 * 60
"""What all but the soak may take, on a busy machine."""


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="for whatever is left to chance (1)")
    parser.add_argument("--minutes", type=float, default=10, help="of the soak with random faults (10)")
    parser.add_argument("--report", type=Path, help="a file for the report; it is printed in any case")
    parser.add_argument("tests", nargs="*", help="arguments for pytest instead of all fault tests")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobqueue-faults-") as directory:
        figures = Path(directory) / "figures"
        code = run(given.tests or catalogue(), given.seed, given.minutes, figures)
        text = report(figures, given.seed, code)
    print(text)
    if given.report:
        given.report.write_text(text + "\n")
    return code


def catalogue() -> list[str]:
    """Return all fault tests, and those elsewhere that show what the catalogue says."""
    here = ROOT / "tests" / "faults"
    named = re.findall(r"`(tests/[^`]+::\w+)`", (here / "README.md").read_text())
    return [str(here), *dict.fromkeys(one for one in named if not one.startswith("tests/faults/"))]


def run(tests: list[str], seed: int, minutes: float, figures: Path) -> int:
    """Run tests; return the exit code, which is not 0 if they did not end in time."""
    environment = os.environ | {
        "FAULTS_SEED": str(seed),
        "FAULTS_MINUTES": str(minutes),
        "FAULTS_FIGURES": str(figures),
        "JOBQUEUE_TEST_SCALE": "full",
    }
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.faults.tell", *_OPTIONS, *tests]
    # So that whoever ends this ends the tests as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as running:
        try:
            return running.wait(OTHERS_SECONDS + minutes * 120)
        except subprocess.TimeoutExpired:
            print("not done in time", file=sys.stderr)
            return 124
        finally:
            for what in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(running.pid, what)
                    running.wait(20)


def report(figures: Path, seed: int, code: int) -> str:
    """Return the figures as a Markdown table."""
    found = total(figures)
    version = subprocess.run([find_mongod(), "--version"], capture_output=True, text=True, check=True).stdout
    rows = [("seed", seed), ("mongod", version.split()[2]), ("Python", platform.python_version())]
    rows += sorted(found["counts"].items())
    rows += [(f"faults: {kind}", number) for kind, number in sorted(found["faults"].items())]
    rows += [(what, f"{number:g}") for what, number in sorted(found["most"].items())]
    if found["recoveries"]:
        middle, most = statistics.median(found["recoveries"]), found["recoveries"][-1]
        rows.append(("seconds from a new primary to work of every kind, median and worst", f"{middle:.2f}, {most:.2f}"))
    rows.append(("verdict", "no violation" if code == 0 else f"VIOLATED OR NOT DONE (exit {code})"))
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


if __name__ == "__main__":
    sys.exit(main())
