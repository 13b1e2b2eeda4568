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
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Package(NamedTuple):
    """A package, the digest of its archive, and the files of it that are kept, with their names here."""

    name: str
    integrity: str
    target: str
    files: dict[str, str]


PACKAGES = (
    Package(
        "swagger-ui-dist@5.35.0",
        "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        "jobqueue/api/static/swagger-ui",
        {
            name: name
            for name in (
                "swagger-ui-bundle.js",
                "swagger-ui-bundle.js.LICENSE.txt",
                "swagger-ui.css",
                "LICENSE",
                "NOTICE",
            )
        },
    ),
    Package(
        "htmx.org@2.0.11",
        "sha512-Thx/WtpeOQqSrqBCw/A1cwGJGg4UrVa3+sW0GmrM3p4gJgO89ecH4qtbnyzDDWFvBTqjnIMCgELTNt636dtamA==",
        "jobqueue/dashboard/static/vendor",
        {"dist/htmx.min.js": "htmx.min.js", "LICENSE": "htmx.LICENSE"},
    ),
    Package(
        "idiomorph@0.7.4",
        "sha512-uCdSpLo3uMfqOmrwXTpR1k/sq4sSmKC7l4o/LdJOEU+MMMq+wkevRqOQYn3lP7vfz9Mv+USBEqPvi0XhdL9ENw==",
        "jobqueue/dashboard/static/vendor",
        {"dist/idiomorph-ext.min.js": "idiomorph-ext.min.js", "LICENSE": "idiomorph.LICENSE"},
    ),
    Package(
        "axe-core@4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        "tests/support/browser/vendor",
        {"axe.min.js": "axe.min.js", "LICENSE": "axe.LICENSE", "LICENSE-3RD-PARTY.txt": "axe.LICENSE-3RD-PARTY.txt"},
    ),
)


def main() -> None:
    """Fetch, check and unpack the packages."""
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as directory:
            fetch(package, Path(directory))


def fetch(package: Package, directory: Path) -> None:
    """Fetch, check and unpack a package."""
    done = subprocess.run(
        ["npm", "pack", package.name, "--json"],  # noqa: S607 - wherever the developer has it
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    archive = directory / json.loads(done.stdout)[0]["filename"]
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.integrity:
        sys.exit(f"{package.name} is not what it was: {digest}")
    target = ROOT / package.target
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for name, kept in package.files.items():
            member = tar.extractfile(f"package/{name}")
            if member is None:
                sys.exit(f"{package.name} has no {name}")
            (target / kept).write_bytes(member.read())


if __name__ == "__main__":
    main()
