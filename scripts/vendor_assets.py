"""Fetch the files of other projects that are served to browsers, in pinned versions, with their licences.

Run it after changing a version; what it writes is committed, so that neither installing nor running needs it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).parents[1] / "jobqueue" / "api" / "static"
PACKAGE = "swagger-ui-dist@5.35.0"
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
FILES = ("swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css", "LICENSE", "NOTICE")
TARGET = "swagger-ui"


def main() -> None:
    """Fetch, check and unpack the package."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["npm", "pack", PACKAGE, "--json"],  # noqa: S607 - wherever the developer has it
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
        )
        archive = Path(directory) / json.loads(done.stdout)[0]["filename"]
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            sys.exit(f"{PACKAGE} is not what it was: {digest}")
        target = STATIC / TARGET
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"package/{name}")
                if member is None:
                    sys.exit(f"{PACKAGE} has no {name}")
                (target / name).write_bytes(member.read())


if __name__ == "__main__":
    main()
