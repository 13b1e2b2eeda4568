"""``jobqueue search``."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from jobqueue.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_jobs_are_found_by_terms_and_by_filters(capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for number in range(3):
        words = ["add", "resize", json.dumps({"n": number}), "--meta", f"user_id={number}", "--priority", str(number)]
        assert main(words) == 0
        ids.append(capsys.readouterr().out.strip())

    def found(*terms: str) -> list[str]:
        assert main(["search", *terms, "--json"]) == 0
        return [one["id"] for one in json.loads(capsys.readouterr().out)["items"]]

    assert found() == ids[::-1]
    assert found("meta.user_id=1") == [ids[1]]
    assert found("data.n>=1", "data.n<2", "state=pending,failed") == [ids[1]]
    assert found("type~^RES") == []
    assert found("type~^res", "priority!=1", "--sort", "priority") == [ids[0], ids[2]]
    assert found("insertAt>=1h", "endAt=null", f"id={ids[2]}") == [ids[2]]
    assert found('{"$or": [{"data.n": 0}, {"meta.user_id": 2}]}', "--limit", "1") == [ids[2]]
    assert main(["search", "--fields", "data.n,type", "--limit", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].split() == ["ID", "DATA.N", "TYPE"]
    assert printed.out.splitlines()[1].split() == [ids[2], "2", "resize"]
    cursor = printed.err.split()[-1]
    assert main(["search", "--limit", "2", "--cursor", cursor]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == [ids[0], "pending", "default", "resize"]


@pytest.mark.parametrize("over", ["database"], indirect=True)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{"], "error: filter: is not JSON"),
        (["x"], "error: filter: 'x' is neither JSON nor FIELD=VALUE"),
        (["nosuch=1"], "error: filter.nosuch: is not a field that can be searched by. The fields are id, batchId, "),
        (["stat=failed"], "error: filter.stat: is not a field that can be searched by; did you mean state? The fields"),
        (['{"$where": "1"}'], "error: filter.$where: is not an operator"),
        (["claim.token=x"], "error: filter.claim.token: is not a field"),
        (["insertAt>=yesterday"], "error: insertAt: 'yesterday' is neither a time ago"),
        (["state=odd"], "error: filter.state.$eq: must be one of"),
        (["type~(a+)+"], "error: filter.type.$regex: repeats a group"),
        (["data.\ud800=1"], "error: filter.data.\\ud800: is not a path"),
        (["--sort", "claim"], "error: sort: must be by one of"),
        (["--fields", "attrs"], "error: fields: 'attrs' is not a field"),
        (["--limit", "501"], "error: limit: must be from 1 to 500"),
        (["--cursor", "x"], "error: cursor: is not a cursor"),
    ],
)
def test_what_cannot_be_searched_for_is_told_on_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["search", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(told), printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_search_is_exported_to_a_file_that_is_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        assert main(["add", "resize", "--meta", f"n={number}", "--meta", "t==1+2"]) == 0
    capsys.readouterr()
    monkeypatch.setattr("jobqueue.cli.jobs.export.MOST_FOUND", 2)
    assert main(["export", "type=resize"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["meta"]["n"] for line in printed.out.splitlines()] == [2, 1, 0]
    assert printed.err == ""
    words = ["export", "--format", "csv", "--fields", "type,meta.n,meta.t", "--sort", "insertAt", "-o", "jobs.csv"]
    assert main([*words, "--limit", "2", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"file": "jobs.csv", "jobs": 2, "truncated": True}
    assert "more than these 2 jobs" in printed.err
    kept = (tmp_path / "jobs.csv").read_text()
    assert kept.splitlines() == ["type,meta.n,meta.t", "resize,0,'=1+2", "resize,1,'=1+2"]
    # A link stays, and so does a pipe.
    (tmp_path / "link.csv").symlink_to("jobs.csv")
    assert main([*words[:-1], "link.csv", "--limit", "2"]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    (tmp_path / "link.csv").unlink()
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        assert main([*words[:-1], "pipe", "--limit", "2"]) == 0
        assert read.result() == kept
    (tmp_path / "pipe").unlink()
    # One that is refused leaves the file alone, and nothing beside it.
    assert main([*words, "claim.token=x"]) == 2
    assert main(["export", "--limit", "0", "-o", "jobs.csv"]) == 2
    assert main(["export", "-o", "nowhere/jobs.csv"]) == 1
    assert (tmp_path / "jobs.csv").read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.csv"]


def test_a_file_has_all_characters_whatever_the_locale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main(["add", "resize", "--meta", "t=\u202e\u00fc"]) == 0
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["export", "--format", "csv", "--fields", "meta.t"]) == 0
    assert (tmp_path / "out").read_bytes() == "meta.t\r\n\u202e\u00fc\r\n".encode()
