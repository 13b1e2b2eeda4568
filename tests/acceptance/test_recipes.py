"""The recipes, done from their text alone: their Python in one run of pytest, their commands at one server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from playwright._impl._driver import compute_driver_executable

from tests.acceptance.cli.cli_process import Cli
from tests.support.docs.console import Reader, file_name
from tests.support.docs.readme import ROOT, blocks_of
from tests.support.ports import free_port
from tests.support.zygote.shell import search_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.store.mongo.scratch import ScratchDatabases

_ADDRESS: Final = "localhost:8080"
_RECEIVER: Final = "9000"
_FOLDER: Final = ROOT / "docs" / "recipes"
_RECIPES: Final = sorted(set(_FOLDER.glob("*.md")) - {_FOLDER / "index.md"})
_SETTINGS: Final = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
pythonpath = .
addopts = -q -p no:cacheprovider -p no:timeout -p no:xdist -p no:schemathesis -p no:hypothesispytest
filterwarnings = error
"""


@pytest.fixture(scope="module")
def server(mongo_url: str, databases: ScratchDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a server that sends webhooks to this machine."""
    name = databases.ready()
    cli = Cli(
        tmp_path_factory.mktemp("server"),
        {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": name, "JOBQUEUE_WEBHOOK_ALLOW": "127.0.0.1/32"},
    )
    with cli.start("serve", "--port", "0") as running:
        yield running.ready().removeprefix("listening on http://").strip()
    databases.put_back(name)


@pytest.mark.parametrize("page", [page for page in _RECIPES if blocks_of(page, "console")], ids=lambda page: page.stem)
def test_the_commands_of_a_recipe_print_what_it_says(page: Path, server: str, tmp_path: Path) -> None:
    port = str(free_port())
    text = page.read_text(encoding="utf-8").replace(_ADDRESS, server).replace(_RECEIVER, port)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")}
    folder = tmp_path / "work"
    folder.mkdir()
    reader = Reader(folder, environment | {"PATH": search_path(tmp_path / "bin")})
    try:
        reader.read(text)
    finally:
        reader.close()


def test_each_recipe_has_a_problem_code_a_look_and_pitfalls() -> None:
    for page in _RECIPES:
        text = page.read_text(encoding="utf-8")
        assert "**Look at** " in text, page.name
        assert "**What can go wrong**\n\n* " in text, page.name
        assert 30 <= len(text.splitlines()) <= 200, page.name
    index = (_FOLDER / "index.md").read_text(encoding="utf-8")
    names = {page.stem for page in _RECIPES}
    assert set(re.findall(r"^\| \[.*\]\((.*)\.md\)", index, re.MULTILINE)) == names
    assert set(re.findall(r"^[a-z-]+$", index, re.MULTILINE)) == names
    assert len(names) >= 15


def test_receivers_in_other_languages_check_signatures_alike(tmp_path: Path) -> None:
    page = _FOLDER / "webhook.md"
    [node] = blocks_of(page, "js")
    vector = blocks_of(page, "python")[1]
    values = re.findall(r"whsec_\w+|msg_\w+|1614265330(?=\")|v1,AAAA v1,[^\"]+|\{\"test.*\}", vector)
    asked = (
        "const [secret, id, at, signature, body] = JSON.parse(process.argv[2]);\n"
        'const headers = {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature};\n'
        'console.log(isSigned(secret, headers, body), isSigned(secret, headers, body + " "));\n'
    )
    (tmp_path / "vector.mjs").write_text(node + asked)
    secret, body, name, at, signature = values
    program = compute_driver_executable()[0]
    given = json.dumps([secret, name, at, signature, body])
    ran = subprocess.run([program, tmp_path / "vector.mjs", given], capture_output=True, text=True, check=True)
    assert ran.stdout == "true false\n"
    # These have no interpreter here: the parts that decide have to be there.
    for language, parts in {
        "go": ('"whsec_"', "StdEncoding.DecodeString", "sha256.New", '"webhook-timestamp") + "."', "hmac.Equal"),
        "php": ("whsec_", "base64_decode", "'sha256', $text, $key, true", "hash_equals"),
        "ruby": ('"whsec_"', "decode64", '"SHA256", key, text', "strict_encode64", "secure_compare"),
    }.items():
        [code] = blocks_of(page, language)
        assert [part for part in parts if part not in code] == [], language
        assert code.index("webhook-id") < code.index("webhook-timestamp") < code.index("webhook-signature"), language


@pytest.mark.timeout(300)
def test_the_python_recipes_pass_the_tests_that_they_show(tmp_path: Path, mongo_url: str) -> None:
    tested = set()
    for page in _RECIPES:
        for block in blocks_of(page, "python"):
            name = file_name(block)
            assert name is not None, f"{page.name}: {block[:40]}"
            (tmp_path / name).write_text(block)
            tested |= {page.stem} if name.startswith("test_") else set()
    (tmp_path / "pytest.ini").write_text(_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOBQUEUE_", "PYTEST_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest"],
        cwd=tmp_path,
        env=environment | {"JOBQUEUE_TEST_MONGODB_URI": mongo_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert len(tested) >= 12
