"""A command of an operator's: check an archive with the real tar, its progress taken from what tar prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

RECORD = 10_240
EVERY = 20


def main() -> int:
    archive = Path(json.load(sys.stdin)["job"]["data"]["archive"])
    records = max(archive.stat().st_size // RECORD, 1)
    tar = subprocess.Popen(
        ["tar", "--extract", "--to-stdout", f"--checkpoint={EVERY}", "--file", str(archive)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tar.stderr is not None
    for line in tar.stderr:
        read = re.search(r"checkpoint (\d+)", line)
        if read:
            print(f"::progress {min(100 * int(read[1]) / records, 99):.0f}", flush=True)
        else:
            print(line, end="", file=sys.stderr, flush=True)
    code = tar.wait()
    if code == 0:
        print(f'::result {{"records": {records}}}')
    return code


if __name__ == "__main__":
    sys.exit(main())
