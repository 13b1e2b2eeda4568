"""Start the process: set its signal handlers, then import the command line, which is slow."""

from __future__ import annotations

import sys

from jobqueue.cli.process import early

INTERRUPTED = 130


def main() -> int:
    """Run the command line for the arguments of the process, and return the exit code."""
    early.arm(sys.argv[1:])
    try:
        from jobqueue.cli.main import main as run  # noqa: PLC0415 - signals come first

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
