"""Take each guard of the promises away in turn, on a scratch copy, and show that certain quick tests go red for it."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUARDS = ROOT / "scripts" / "guards"
LIMIT = 300
"""Seconds for the tests of one guard; tests that hang without it count as red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A guard that is taken away.

    Attributes:
        guard: its name.
        changes: file, text in it, and what is put in its place.
        tests: arguments for pytest.
    """

    guard: str
    changes: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


def load() -> list[Mutant]:
    """Read the guards of ``scripts/guards``, one a file."""
    mutants = []
    for file in sorted(GUARDS.glob("*.toml")):
        entry = tomllib.loads(file.read_text())
        changes = tuple((change["file"], change["text"], change["instead"]) for change in entry["changes"])
        mutants.append(Mutant(guard=entry["guard"], changes=changes, tests=tuple(entry["tests"])))
    return mutants


def main() -> int:
    """Run what the command line asks for; return 1 if a guard could be taken away without a test going red."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("guards", nargs="*", help="words of the guards' names; all without")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="guards at a time; 1 if not given")
    options = parser.parse_args()
    chosen = [one for one in load() if not options.guards or any(word in one.guard for word in options.guards)]
    verdicts = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for verdict in pool.map(timed, chosen):
            verdicts.append(verdict)
            print(*verdict, flush=True)
    print("\n| without | tests are | seconds | tests |\n| --- | --- | --- | --- |")
    for guard, verdict, seconds, tests in verdicts:
        print(f"| {guard} | {verdict} | {seconds:.0f} | `{tests}` |")
    return 0 if all(verdict == "red" for _, verdict, _, _ in verdicts) else 1


def timed(one: Mutant) -> tuple[str, str, float, str]:
    """Return the guard, the verdict on it, how many seconds that took, and the tests."""
    began = time.monotonic()
    return one.guard, judge(one), time.monotonic() - began, " ".join(one.tests)


def judge(one: Mutant) -> str:
    """Return ``red`` if the tests are green with the guard and red without it, or what is wrong instead."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-mutant-") as directory:
        copy = Path(directory)
        for part in ("jobqueue", "tests", "docs"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, copy / part)
        if run(copy, one.tests) != 0:
            return "red with the guard, too"
        for file, text, instead in one.changes:
            before = (copy / file).read_text()
            if before.count(text) != 1:
                return f"not to be had: {file} has the text {before.count(text)} times"
            (copy / file).write_text(before.replace(text, instead))
        return "red" if run(copy, one.tests) == 1 else "GREEN"


def run(copy: Path, tests: tuple[str, ...]) -> int:
    """Run tests in a copy; return the exit code of pytest, 1 if they do not end."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(command, cwd=copy, capture_output=True, timeout=LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        return 1


if __name__ == "__main__":
    sys.exit(main())
