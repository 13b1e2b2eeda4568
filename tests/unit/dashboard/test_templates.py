"""Compiled templates, which processes share."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

import pytest
from jinja2 import DictLoader, Environment

from jobqueue.dashboard.frame.templates import CompiledTemplates, compiled_templates

if TYPE_CHECKING:
    from pathlib import Path


def page(cache: CompiledTemplates | None) -> str:
    environment = Environment(loader=DictLoader({"page": "Hello {{ name }}"}), bytecode_cache=cache, autoescape=True)
    return environment.get_template("page").render(name="<b>")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_compiled_templates_are_kept_where_only_their_user_writes(temporary: Path) -> None:
    assert page(compiled_templates()) == page(compiled_templates()) == "Hello &lt;b&gt;"
    (directory,) = temporary.iterdir()
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (os.getuid(), 0o700)
    assert [file.suffix for file in directory.iterdir()] == [".cache"]


def test_a_page_is_shown_where_nothing_can_be_stored(temporary: Path) -> None:
    (temporary / f"_jinja2-cache-{os.getuid()}").symlink_to(temporary)
    assert compiled_templates() is None
    gone = CompiledTemplates(str(temporary / "gone"))
    assert page(gone) == page(None) == "Hello &lt;b&gt;"


def test_a_spoilt_file_is_compiled_again(temporary: Path) -> None:
    cache = CompiledTemplates(str(temporary))
    page(cache)
    (file,) = temporary.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert page(cache) == "Hello &lt;b&gt;"
