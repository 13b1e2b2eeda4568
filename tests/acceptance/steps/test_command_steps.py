"""Steps of commands and of shell scripts, against a real server."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.cli.cli_process import eventually
from tests.acceptance.steps.served import serving

if TYPE_CHECKING:
    from pathlib import Path

Settings = dict[str, str]


@pytest.fixture
def settings(mongo_url: str, db_name: str) -> Settings:
    return {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}


def effects(home: Path) -> list[str]:
    """Return what the scripts have written, in order."""
    path = home / "effects"
    return path.read_text().split() if path.exists() else []


def inputs(home: Path) -> list[dict[str, Any]]:
    """Return the results of finished steps that each start of a script was given."""
    return [json.loads(path.read_text())["job"]["steps"] for path in sorted(home.glob("input*"))]


def names(job: dict[str, Any]) -> list[str]:
    return [step["name"] for step in job.get("steps", [])]


async def test_a_script_that_is_killed_between_its_steps_does_each_once(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
jobqueue step fetch -- sh -c 'echo fetch >> effects; echo "{\\"rows\\": 3}"'
[ $JOBQUEUE_ATTEMPT != 1 ] || kill -9 $$
jobqueue step import -- sh -c 'echo import >> effects; echo imported'
[ $JOBQUEUE_ATTEMPT != 2 ] || kill -9 $$
jobqueue sleep rest 1
[ $JOBQUEUE_ATTEMPT != 3 ] || kill -9 $$
jobqueue step publish -- sh -c 'echo publish >> effects'
[ $JOBQUEUE_ATTEMPT != 4 ] || kill -9 $$
echo end >> effects
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=5, backoff=0)
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["fetch", "import", "publish", "end"]
    assert [entry["outcome"] for entry in job["history"]] == ["fail", "fail", "suspend", "fail", "fail", "success"]
    assert [(step["name"], step["kind"], step["result"]) for step in job["steps"]] == [
        ("fetch", "step", {"rows": 3}),
        ("import", "step", "imported"),
        ("rest", "sleep", None),
        ("publish", "step", ""),
    ]


async def test_a_script_goes_on_after_its_server_was_killed(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
jobqueue step fetch -- sh -c 'echo fetch >> effects'
if [ ! -e killed ]; then echo $$ > holds; sleep 600; fi
jobqueue step publish -- sh -c 'echo publish >> effects'
"""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    async with serving(tmp_path, {**settings, "TMPDIR": str(temporary)}, script=script) as served:
        job_id = await served.add("script", attempts=2, backoff=0, lease=2)
        await exists(tmp_path / "holds")
        served.kill()
        (tmp_path / "killed").touch()
        await eventually(lambda: listed(temporary), lambda names: not names)
        job = await served.start().ended(job_id)
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["fetch", "publish"]
    assert names(job) == ["fetch", "publish"]


async def listed(directory: Path) -> list[str]:
    return os.listdir(directory)  # noqa: PTH208 - quick


async def exists(path: Path) -> None:
    async def look() -> bool:
        return _is_written(path)

    await eventually(look, bool)


def _is_written(path: Path) -> bool:
    return path.exists() and bool(path.read_text())


async def test_a_sleep_ends_a_script_whatever_the_script_does(tmp_path: Path, settings: Settings) -> None:
    plain = """jobqueue sleep rest 1
echo plain >> effects
"""
    hidden = """trap 'echo trap >> effects' EXIT
(jobqueue sleep rest 1 || true) | cat
echo hidden >> effects
"""
    async with serving(tmp_path, settings, plain=plain, hidden=hidden) as served:
        jobs = [await served.run("plain", attempts=1), await served.run("hidden", attempts=1)]
    assert [job["state"] for job in jobs] == ["success", "success"]
    assert effects(tmp_path) == ["plain", "trap", "hidden", "trap"]
    for job in jobs:
        assert [entry["outcome"] for entry in job["history"]] == ["suspend", "success"]
        assert (job["attemptsMade"], names(job)) == (1, ["rest"])


async def test_a_suspension_refuses_further_steps(tmp_path: Path, settings: Settings) -> None:
    script = """trap '' TERM
if [ ! -e refused ]; then
  jobqueue sleep rest 1 &
  until [ -e refused ]; do jobqueue step early -- true || touch refused; done
  jobqueue step late -- touch ran
  wait
fi
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=1, timeout=40)
    assert job["state"] == "success", job["error"]
    assert not (tmp_path / "ran").exists()
    assert "late" not in names(job)


async def test_lines_record_steps_and_suspend(tmp_path: Path, settings: Settings) -> None:
    script = """cat > "input$JOBQUEUE_ATTEMPT$(ls | grep -c input)"
if [ ! -e suspended ]; then
  touch suspended
  echo '::step fetch {"rows": 3}'
  echo '::step "fetch more" [1, 2]'
  echo '::step nothing'
  echo '::step fetch 4'
  echo '::step broken {"rows":'
  echo '::step undo:it 1'
  echo '::suspend soon'
  echo '::suspend 600'
  echo '::suspend 0'
  exit 0
fi
echo '::step late 5'
echo '::suspend 600'
exit 3
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=1)
    assert (job["state"], job["error"]["kind"]) == ("failed", "exit")
    assert [entry["outcome"] for entry in job["history"]] == ["suspend", "fail"]
    steps = [(step["name"], step["result"]) for step in job["steps"]]
    assert steps == [("fetch", {"rows": 3}), ("fetch more", [1, 2]), ("nothing", None), ("late", 5)]
    assert inputs(tmp_path) == [{}, dict(steps[:3])]
    warnings = [line["m"] for line in job["logs"] if line.get("level") == "warning"]
    expected = ("step 'fetch' had finished", "::step broken", "undo:it", "::suspend soon")
    for warning, words in zip(warnings, expected, strict=True):
        assert words in warning


async def test_results_are_printed_numbered_and_passed_on(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
for part in a b; do
  printed=$(jobqueue step load -- sh -c "echo $part >> effects; echo '{\\"part\\": \\"$part\\"}'")
  echo "$printed" >> "printed$JOBQUEUE_ATTEMPT"
done
code=0
jobqueue step bad -- sh -c 'echo lost; exit 7' > out || code=$?
echo "$code $(cat out)" >> "printed$JOBQUEUE_ATTEMPT"
until jobqueue step again -- sh -c 'echo x >> tries; [ $(wc -l < tries) -ge 2 ]'; do :; done
[ $JOBQUEUE_ATTEMPT != 1 ] || exit 1
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=2, backoff=0)
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["a", "b"]
    assert names(job) == ["load", "load#2", "again"]
    expected = '{"part": "a"}\n{"part": "b"}\n7 lost\n'
    assert [(tmp_path / f"printed{n}").read_text() for n in (1, 2)] == [expected, expected]


async def test_a_wrong_step_says_what_is_wrong(tmp_path: Path, settings: Settings) -> None:
    script = """try() { "$@" >/dev/null 2> err; echo "$? $(tail -n 1 err)" >> effects; }
try jobqueue step undo:a -- touch ran
try jobqueue step large -- head -c 5000000 /dev/zero
try jobqueue step missing -- no-such-program
try jobqueue step loop -- jobqueue step loop -- touch ran
try jobqueue sleep long 1e30
try env -u JOBQUEUE_STEPS -u JOBQUEUE_URL jobqueue step outside -- touch ran
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=1)
    assert job["state"] == "success", job["error"]
    assert not (tmp_path / "ran").exists()
    lines = (tmp_path / "effects").read_text().splitlines()
    expected = (
        ("1 ", "must not begin with undo:"),
        ("2 ", "4,194,304"),
        ("127 ", "no-such-program"),
        ("1 ", "run at once"),
        ("1 ", "delay"),
        ("2 ", "JOBQUEUE_STEPS"),
    )
    for line, (code, words) in zip(lines, expected, strict=True):
        assert line.startswith(code), lines
        assert words in line, lines
    assert names(job) == []


async def test_a_killed_job_keeps_no_more_steps(tmp_path: Path, settings: Settings) -> None:
    script = """trap '' TERM
jobqueue step first -- true
touch holds; echo 1 > holds
while [ ! -e go ]; do sleep 0.05; done
jobqueue step second -- true && touch kept
"""
    async with serving(tmp_path, settings, script=script) as served:
        job_id = await served.add("script", attempts=1)
        await exists(tmp_path / "holds")
        await served.call("POST", f"/v1/jobs/{job_id}/kill", {})
        (tmp_path / "go").touch()
        job = await served.ended(job_id)
        await served.configure(processors={})
    assert job["state"] == "killed"
    assert names(job) == ["first"]
    assert not (tmp_path / "kept").exists()


async def test_steps_are_listed_and_forgotten(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
for name in fetch import publish; do
  jobqueue step $name -- sh -c "echo $name >> effects"
done
[ -e fixed ]
"""
    async with serving(tmp_path, settings, script=script) as served:
        job = await served.run("script", attempts=1)
        listed = served.cli.run("steps", job["id"])
        assert [line.split()[:3] for line in listed.out.splitlines()][1:] == [
            ["fetch", "step", "finished"],
            ["import", "step", "finished"],
            ["publish", "step", "finished"],
        ]
        (tmp_path / "fixed").touch()
        requeued = served.cli.run("requeue", job["id"], "--from-step", "import")
        assert requeued.code == 0, requeued.err
        job = await served.ended(job["id"])
        shown = served.cli.run("show", job["id"]).out
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["fetch", "import", "publish", "import", "publish"]
    assert "forgot import, publish" in shown


async def test_a_script_waits_for_a_signal_and_prints_its_value(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
jobqueue wait approved > answer
[ "$(jobqueue wait late --timeout 0 2>> late || echo $?)" = 124 ]
jobqueue step publish -- cat answer
"""
    async with serving(tmp_path, settings, script=script) as served:
        job_id = await served.add("script", attempts=1)
        await eventually(lambda: served.get(job_id), lambda job: bool(job.get("wait")))
        inbox = await served.call("GET", "/v1/jobs?waiting=signal")
        assert [job["id"] for job in inbox["items"]] == [job_id]
        await served.call("POST", f"/v1/jobs/{job_id}/signals/approved", {"value": {"by": "ann"}})
        job = await served.ended(job_id)
    assert job["state"] == "success", job["error"]
    assert {step["name"]: step["result"] for step in job["steps"]} == {
        "approved": {"by": "ann"},
        "late": None,
        "publish": {"by": "ann"},
    }
    assert (tmp_path / "late").read_text() == "error: the signal has not come in time\n"


async def test_a_script_awaits_children_and_prints_their_results(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
echo start >> effects
jobqueue call label '{"type": "child", "data": {"n": 7}}'
many=$(jobqueue call many '[{"type": "child"}, {"type": "bad", "attempts": 1}]' --failures return)
grep -q childFailed <<< "$many"
jobqueue call again '{"type": "bad", "attempts": 1}' 2> said || [ $? = 6 ]
JOBQUEUE_STEPS= jobqueue call label '{"type": "child"}' > over-http
JOBQUEUE_STEPS= jobqueue call again '{"type": "bad"}' 2> said-over-http || [ $? = 6 ]
jobqueue call wrong '{"kind": "child"}' 2> refused || [ $? = 1 ]
"""
    child, bad = "echo '::result {\"size\": 3}'", "echo broken >&2; exit 65"
    async with serving(tmp_path, settings, script=script, child=child, bad=bad) as served:
        job = await served.run("script", attempts=1)
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["start"] * 4
    assert job["steps"][0]["result"] == json.loads((tmp_path / "over-http").read_text()) == {"size": 3}
    for name in ("said", "said-over-http"):
        assert "broken" in (tmp_path / name).read_text()
    assert "kind" in (tmp_path / "refused").read_text()


async def test_a_line_waits_for_a_signal(tmp_path: Path, settings: Settings) -> None:
    script = """cat > input$(date +%s%N)
grep -q '"approved":{' input* || echo "::wait approved 3600"
"""
    async with serving(tmp_path, settings, script=script) as served:
        job_id = await served.add("script", attempts=1)
        await served.call("POST", f"/v1/jobs/{job_id}/signals/approved", {"value": {"by": "ann"}})
        job = await served.ended(job_id)
    assert job["state"] == "success", job["error"]
    assert inputs(tmp_path)[-1] == {"approved": {"by": "ann"}}


@pytest.mark.parametrize("happened", [True, False])
async def test_a_script_never_runs_a_step_twice_that_may_have_happened(
    tmp_path: Path, settings: Settings, *, happened: bool
) -> None:
    charge = "[ -e again ] || { touch again; kill -9 $PPID; sleep 600; }"
    script = f"""set -e
jobqueue step --once charge -- sh -c 'echo charge >> effects; {charge}; echo paid'
jobqueue step --once closed -- sh -c 'echo closed >> effects; [ -e open ] || {{ touch open; exit 75; }}; echo '
"""
    async with serving(tmp_path, settings, script=script) as served:
        job_id = await served.add("script", attempts=4, backoff=0)
        job = await eventually(lambda: served.get(job_id), lambda job: "doubt" in job.get("wait", {}))
        assert effects(tmp_path) == ["charge"]
        await served.call("POST", f"/v1/jobs/{job_id}/steps/charge", {"happened": happened})
        job = await served.ended(job_id)
    assert job["state"] == "success", job["error"]
    assert effects(tmp_path) == ["charge"] * (1 if happened else 2) + ["closed"] * 2
    assert job["steps"][0]["result"] == (None if happened else "paid")


async def test_a_script_awaits_children_and_has_their_results(tmp_path: Path, settings: Settings) -> None:
    script = """cat > input-$(date +%s%N)
echo start >> effects
echo '::call label {"type": "child", "data": {"n": 1}}'
echo '::call "all thumbs" [{"type": "child"}, {"type": "child"}]'
echo '::result "end"'
"""
    child = """echo child >> effects
echo '::result 7'
"""
    async with serving(tmp_path, settings, script=script, child=child) as served:
        job = await served.run("script", attempts=1)
    assert (job["state"], job["result"]) == ("success", "end")
    assert effects(tmp_path).count("child") == 3
    assert inputs(tmp_path)[-1] == {"label": 7, "all thumbs": [7, 7]}
    assert {entry["outcome"] for entry in job["history"][:-1]} == {"suspend"}
    assert [(step["name"], step["kind"]) for step in job["steps"]] == [("label", "call"), ("all thumbs", "map")]


async def test_a_call_that_cannot_be_used_fails_the_attempt_and_one_of_a_failed_script_does_not_count(
    tmp_path: Path, settings: Settings
) -> None:
    wrong = """echo '::call label {"colour": 1}'
"""
    failed = """echo '::call label {"type": "child"}'
exit 3
"""
    async with serving(tmp_path, settings, wrong=wrong, failed=failed) as served:
        jobs = [await served.run(name, attempts=1) for name in ("wrong", "failed")]
        children = await served.call("GET", "/v1/jobs?type=child")
    assert [job["error"]["kind"] for job in jobs] == ["step", "exit"]
    assert "job.colour: is not a known field" in jobs[0]["error"]["message"]
    assert children["items"] == []


async def test_the_step_of_a_script_is_known_while_it_runs(tmp_path: Path, settings: Settings) -> None:
    script = """set -e
jobqueue step wait -- sh -c 'until [ -e go ]; do sleep 0.05; done'
"""
    async with serving(tmp_path, settings, script=script) as served:
        job_id = await served.add("script", lease=2)
        running = await eventually(
            lambda: served.get(job_id), lambda job: "step" in (job["claim"] or {}) or job["state"] == "failed"
        )
        assert running["claim"]["step"] == "wait"
        (tmp_path / "go").touch()
        assert (await served.ended(job_id))["state"] == "success"
