from __future__ import annotations

import copy
import json
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.main import main
from jobqueue.domain.work import bundle as bundles
from jobqueue.domain.work.bundle import BadBundleError, Bundle
from tests.unit.testing.bundles import bundle, step

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
from jobqueue import JobQueue

queue = JobQueue()


def pay(price):
    if price == 7:
        raise ValueError("no")


@queue.handler("order")
async def order(job):
    await job.step("fetch", str)
    await job.signal("seen")
    await job.call("label", "print")
    await job.parent(), await job.children(), job.results
    await job.step("pay", pay, job.data.get("price"))
"""
JOB = {
    "steps": [step("fetch"), step("label", kind="call"), step("pay", endAt=None, error={"kind": "a", "message": "b"})],
    "signals": [{"id": "1", "name": "seen", "value": 1, "at": None, "by": "ann"}],
    "parents": [{"id": "b" * 24, "ref": "x", "state": "success", "result": 1}],
}
CHILD = bundle(job={"result": 1})["job"]
FAILURE = {"id": "c" * 24, "state": "failed", "error": {"kind": "a", "message": "b"}}
WHOLE = json.dumps(
    bundle(job=JOB, results={"fetch": "1", "label": 2}, parent=CHILD, children=[CHILD], childFailures={"x": FAILURE})
).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (WHOLE[: len(WHOLE) // 2], "it is not JSON"),
        (b"\x80\x04\x95cposix\nsystem\n", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "but no bundle"),
        (b'{"id": 1}', "but no bundle"),
        (json.dumps(bundle(bundle=2)).encode(), "it has the format 2, and this version reads 1"),
        (json.dumps(bundle(bundle=True)).encode(), "it has the format True"),
        (json.dumps(bundle(results=[])).encode(), "results is no object"),
        (json.dumps(bundle(children={})).encode(), "children is no list"),
        (json.dumps(bundle(children=[1])).encode(), "children.0 is no job"),
        (json.dumps(bundle(job={"type": 7})).encode(), "job is no job: a field has a value of another type"),
        (json.dumps(bundle(job={"state": "\x1b[31m"})).encode(), "job is no job: ValueError"),
        (json.dumps(bundle(job={"steps": [{}]})).encode(), "job is no job: TypeError"),
        (json.dumps(bundle(job={"timeout": "1"})).encode(), "a field has a value of another type"),
        (json.dumps(bundle(job={"insertAt": [1]})).encode(), "job is no job"),
    ],
)
def test_a_file_that_is_no_bundle_is_one_line(
    content: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert main(["replay", str(path), "nothing:queue"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} is no bundle that can be replayed: ")
    assert reason in line
    assert "\x1b" not in line


def test_a_file_that_is_missing_or_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["replay", str(tmp_path / "none"), "nothing:queue"]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
    monkeypatch.setattr(bundles, "MOST_BYTES", 100)
    with pytest.raises(BadBundleError, match=r"a bundle has 100 at most"):
        Bundle.read(WHOLE)


def test_a_bundle_with_anything_anywhere_is_replayed_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fuzzed.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    values: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "\x1b[0m", [], [None], {}, {"a": {"b": []}}]
    chance, ends = random.Random(7), set()  # noqa: S311 - the same cases each time
    for _ in range(120):
        form = json.loads(WHOLE)
        for _ in range(chance.randint(1, 2)):
            at: Any = form
            while True:
                key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
                if isinstance(at[key], dict | list) and at[key] and chance.random() < 0.8:
                    at = at[key]
                    continue
                at[key] = copy.deepcopy(chance.choice(values))
                break
        (tmp_path / "a.json").write_text(json.dumps(form))
        ends.add(main(["replay", "a.json", "fuzzed:queue", "--attempt", "1"]))
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err
    assert ends == {0, 2, 7}
