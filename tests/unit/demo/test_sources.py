from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobqueue.demo import sources


def make(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")


def test_sources_are_found_in_order_without_what_is_installed_cached_or_hidden(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a.py", "pkg/c.py", "pkg/data.txt", ".venv/d.py")
    make(tmp_path, "site-packages/e.py", "pkg/__pycache__/f.py", "pkg/dist-packages/g.py")

    found = sources.find(tmp_path)

    assert found.files == ("a.py", "b.py", "pkg/c.py")
    assert found.problems == ()
    assert found.by_directory() == [(".", 2), ("pkg", 1)]


def test_pipes_and_directories_are_left_out_and_broken_links_are_not(tmp_path: Path) -> None:
    make(tmp_path, "folder.py/a.txt")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere.py")

    assert sources.find(tmp_path).files == ("broken.py",)


def test_a_name_that_is_no_text_is_told_and_left_out(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text("x = 1\n")
    make(tmp_path, "a.py")

    found = sources.find(tmp_path)

    assert found.files == ("a.py",)
    assert len(found.problems) == 1
    assert "udcff" in found.problems[0]
    found.problems[0].encode()


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sources.find(tmp_path / "gone")


@pytest.mark.parametrize(("limit", "taken"), [(None, "abcdef"), (9, "abcdef"), (6, "abcdef"), (3, "ace"), (1, "a")])
def test_a_limit_takes_files_from_everywhere(limit: int | None, taken: str) -> None:
    assert "".join(sources.spread("abcdef", limit)) == taken
