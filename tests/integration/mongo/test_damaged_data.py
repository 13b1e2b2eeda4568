"""A data directory that mongod does not take: every command says so in one line that names a fix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.store.embedded import guard
from jobqueue.store.embedded.guard import DataLayout, FileLock
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
DAMAGED = "the data files in {root}/db are damaged: restore a copy of them"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a data directory that was left in order."""
    root = tmp_path_factory.mktemp("sound").resolve() / "data"
    EmbeddedMongo.acquire(root).release()
    assert guard.wait_until(lambda: not has_guard(DataLayout(root)), 60)
    return root


@pytest.fixture
def layout(sound: Path, tmp_path: Path) -> Iterator[DataLayout]:
    made = DataLayout(tmp_path.resolve() / "data")
    shutil.copytree(sound, made.root)
    yield made
    for path in (made.root, made.db):
        if path.is_dir():
            path.chmod(0o700)
    assert guard.wait_until(lambda: not has_guard(made), 60)


def has_guard(layout: DataLayout) -> bool:
    if not layout.root.is_dir():
        return False
    with FileLock(layout.guard) as lock:
        return not lock.exclusive()


def run(layout: DataLayout, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user for whom the rights of files count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")}
    if explicit := os.environ.get("JOBQUEUE_MONGOD"):
        kept["JOBQUEUE_MONGOD"] = explicit
    humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*humble, sys.executable, "-m", "jobqueue", *words, "--data-dir", str(layout.root)],
        cwd=layout.root.parent,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def garbage(name: str) -> Callable[[DataLayout], None]:
    def spoil(layout: DataLayout) -> None:
        (layout.db / name).write_bytes(os.urandom(20_000))

    return spoil


def no_right(layout: DataLayout) -> None:
    layout.root.chmod(0)


def no_right_to_files(layout: DataLayout) -> None:
    (layout.db / "WiredTiger.wt").chmod(0)


def a_file_in_place_of_it(layout: DataLayout) -> None:
    shutil.rmtree(layout.db)
    layout.db.write_text("")


DAMAGES: dict[str, tuple[Callable[[DataLayout], None], str]] = {
    "catalogue": (garbage("_mdb_catalog.wt"), DAMAGED),
    "metadata": (garbage("WiredTiger.wt"), DAMAGED),
    "turtle": (garbage("WiredTiger.turtle"), DAMAGED),
    "rights of the directory": (no_right, "the data directory {root} cannot be used: Permission denied"),
    "rights of a file": (no_right_to_files, "mongod may not read and write its files in {root}/db"),
    "a file": (a_file_in_place_of_it, "the data directory {root} cannot be used: File exists"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_data_directory_is_one_line_with_a_fix(damage: str, layout: DataLayout) -> None:
    spoil, told = DAMAGES[damage]
    spoil(layout)
    done = run(layout, "list", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    said = json.loads(line)["error"]["detail"]
    assert said.startswith(told.format(root=layout.root))
    assert "--data-dir" in said


def test_a_server_and_the_doctor_say_the_same(layout: DataLayout) -> None:
    garbage("WiredTiger.turtle")(layout)
    served = run(layout, "serve", "--port", "0")
    assert (served.returncode, served.stdout) == (3, "")
    assert served.stderr.splitlines()[-1].startswith(f"error: {DAMAGED.format(root=layout.root)}")
    assert "Traceback" not in served.stderr
    examined = run(layout, "doctor")
    assert examined.returncode == 1
    assert examined.stdout.splitlines()[-1].startswith(f"FAIL  connection: {DAMAGED.format(root=layout.root)}")
