from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import SettingsError
from jobqueue.settings import Settings, describe

NAMES = [row.name for row in describe()]
KEYS = [f"JOBQUEUE_{name.upper()}{suffix}" for name in [*NAMES, "config"] for suffix in ("", "_FILE")]

texts = st.text(max_size=30) | st.sampled_from(
    [
        "mongodb://h/?w=1",
        "mongodb://[::1",
        "~x",
        "1e400",
        "٣",
        "9" * 5000,
        "10.0.0.0/33",
        "fe80::1%a/64",
        "\ud800",
        "\0",
    ]
)
scalars = texts | st.integers() | st.floats() | st.booleans() | st.none() | st.binary(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def assert_only_mistakes(
    *, flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, cwd: Path = Path("/nonexistent")
) -> None:
    found: list[str] = []
    try:
        json.dumps(Settings.load(flags, environ or {}, cwd).masked())
    except SettingsError as error:
        found = error.mistakes or ["the error lists nothing"]
    assert all(": " in mistake and "\n" not in mistake for mistake in found)


@given(flags=st.dictionaries(st.sampled_from(NAMES) | texts, values, max_size=5))
def test_garbage_in_flags_raises_nothing_but_settings_errors(flags: dict[str, object]) -> None:
    assert_only_mistakes(flags=flags)


@given(environ=st.dictionaries(st.sampled_from(KEYS) | texts.map("JOBQUEUE_".__add__), texts, max_size=5))
def test_garbage_in_the_environment_raises_nothing_but_settings_errors(environ: dict[str, str]) -> None:
    assert_only_mistakes(environ=environ)


@given(name=st.sampled_from(NAMES), literal=st.text(max_size=30), raw=st.binary(max_size=60))
def test_garbage_in_the_file_raises_nothing_but_settings_errors(name: str, literal: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for content in (raw, f"{name} = {literal}".encode("utf-8", "surrogatepass")):
            (Path(directory) / "jobqueue.toml").write_bytes(content)
            assert_only_mistakes(cwd=Path(directory))
