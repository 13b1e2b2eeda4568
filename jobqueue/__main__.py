"""``python -m jobqueue``: the command line."""

from __future__ import annotations

import sys

from jobqueue.cli.process.entry import main

if __name__ == "__main__":
    sys.exit(main())
