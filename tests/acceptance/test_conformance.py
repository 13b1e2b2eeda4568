"""The same cases over every way to process a job: functions, webhooks, commands, polling and a worker over HTTP.

All is in real processes. What a job does is a program in its data; each way has a player of these programs. What one
way cannot express is not generated for it:

| case | way | why |
| --- | --- | --- |
| one slot | accepted | a webhook that answers 202 frees the slot of the server while its job goes on |
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from tests.support.conformance.play import LATE, digest
from tests.support.conformance.stage import RETRY_DELAY, WAYS, Stage, Way, until

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = 3.0
SHORT = 0.3
SHORTEST_RETRY = 1
RESULTS: dict[str, Any] = {
    "object": {"width": 320, "sizes": [1, 2.5, None, True]},
    "list": [3, "two", {"one": 1}],
    "text": "done",
    "empty text": "",
    "whole number": 9_007_199_254_740_993,
    "number": -0.125,
    "flag": False,
    "null": None,
    "unicode": {"größe": "日本語 \U0001f40d \u202e \x00 \x1b[31m", "lines": "a\nb\r\nc"},
    "outcome": {"outcome": "fail", "reason": "a result that looks like a decision"},
    "nested": {"a": {"b": {"c": [[[{"d": "deep"}]]]}}},
}
UNSTORABLE: dict[str, tuple[list[Any], str]] = {
    "a name": (["read", '{"$where": 1}'], '{"$where": 1}'),
    "a number": (["read", str(2**70)], str(2**70)),
}
TOO_LARGE = 2**22
REPORTING = {"accepted", "polling"}
"""Ways that report over the API: it refuses a result that cannot be stored, and the worker corrects its report."""


def stages(
    tmp_path_factory: pytest.TempPathFactory, mongo_url: str, *, copies: int, concurrency: int
) -> Iterator[Stage]:
    db = f"test_{secrets.token_hex(6)}"
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db}
    with Stage(tmp_path_factory.mktemp("stage"), settings, copies=copies, concurrency=concurrency) as stage:
        yield stage
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        client.drop_database(db)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, mongo_url: str) -> Iterator[Stage]:
    yield from stages(tmp_path_factory, mongo_url, copies=2, concurrency=4)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, mongo_url: str) -> Iterator[Stage]:
    yield from stages(tmp_path_factory, mongo_url, copies=1, concurrency=1)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, wide: Stage) -> Way:
    return Way(request.param, wide)


@pytest.fixture(params=[name for name in WAYS if name != "accepted"])
def one_slot(request: pytest.FixtureRequest, narrow: Stage) -> Way:
    return Way(request.param, narrow)


def outcomes(job: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in job["history"]]


def seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_is_kept_as_it_is(way: Way, kind: str) -> None:
    job = way.done(["result", RESULTS[kind]])
    assert (job["state"], job["result"], job["error"]) == ("success", RESULTS[kind], None)
    assert (job["progress"], job["attemptsMade"], outcomes(job)) == (100, 1, ["success"])
    assert (job["claim"], job["resetAt"], job["delayTil"]) == (None, None, None)
    # The clock of the server may be set back by some milliseconds at any time.
    assert seconds(job["insertAt"], job["startAt"]) > -0.1
    assert seconds(job["startAt"], job["endAt"]) > -0.1


def test_progress_is_seen_while_it_runs(way: Way) -> None:
    job_id = way.add(["progress", 40], ["hold"])
    running = until(lambda: way.get(job_id), lambda job: job["progress"])
    assert (running["state"], running["progress"], running["endAt"]) == ("processing", 40, None)
    assert running["claim"]["token"] == running["history"][0]["token"]
    way.go(job_id)
    assert way.ended(job_id)["progress"] == 100


def test_progress_stays_where_it_was_when_it_fails(way: Way) -> None:
    job = way.done(["progress", 62.5], ["fail", "no"], attempts=1)
    assert (job["state"], job["progress"]) == ("failed", 62.5)


def test_logs_are_seen_while_it_runs(way: Way) -> None:
    job_id = way.add(["log", "begun"], ["hold"])
    (line,) = until(lambda: way.lines(job_id), bool)
    assert (line["m"], line["attempt"]) == ("begun", 1)
    assert way.get(job_id)["state"] == "processing"
    way.go(job_id)
    assert way.ended(job_id)["state"] == "success"


def test_many_lines_are_kept_in_order(way: Way) -> None:
    job = way.done(["count", 220])
    assert job["state"] == "success"
    assert [line["m"] for line in way.lines(job["id"])] == [f"line {number}" for number in range(220)]
    assert [line["m"] for line in job["logs"]] == [f"line {number}" for number in range(200)]


def test_lines_are_kept_as_they_are(way: Way) -> None:
    lines = ["first", "", "  ", "größe 日本語 \U0001f40d", "\t\x1b[31mred", ": :progress 10", "last"]
    job = way.done(*(["log", line] for line in lines))
    assert [line["m"] for line in way.lines(job["id"])] == lines
    assert job["progress"] == 100


def test_a_line_has_a_level(way: Way) -> None:
    job = way.done(["log", "careful", "warning"], ["log", "gone", "error"])
    assert [(line["m"], line["level"]) for line in way.lines(job["id"])] == [("careful", "warning"), ("gone", "error")]


def test_a_long_line_is_split(way: Way) -> None:
    line = "é1234567" * 2500
    job = way.done(["log", line], ["log", "short"])
    *parts, last = [part["m"] for part in way.lines(job["id"])]
    assert "".join(parts) == line
    assert len(parts) > 1
    assert max(len(part.encode()) for part in parts) <= 8 * 1024
    assert last == "short"


def test_lines_tell_their_attempt(way: Way) -> None:
    job = way.done(["log", "here"], ["once", ["fail", "no"]], backoff=SHORT)
    here = [line["attempt"] for line in way.lines(job["id"]) if line["m"] == "here"]
    assert (job["state"], here) == ("success", [1, 2])


def test_a_failure_is_tried_again_by_the_backoff_until_none_is_left(way: Way) -> None:
    job = way.done(["fail", "the disk is full"], attempts=3, backoff=[0.2, 0.5])
    assert (job["state"], job["attemptsMade"], job["result"]) == ("failed", 3, None)
    assert "the disk is full" in job["error"]["message"]
    assert outcomes(job) == ["fail"] * 3
    first, second, third = job["history"]
    assert [one["attempt"] for one in job["history"]] == [1, 2, 3]
    assert len({one["token"] for one in job["history"]}) == 3
    assert "the disk is full" in first["error"]["message"]
    assert seconds(first["endAt"], second["startAt"]) >= 0.2
    assert seconds(second["endAt"], third["startAt"]) >= 0.5


def test_it_waits_as_delayed_between_attempts(way: Way) -> None:
    job_id = way.add(["once", ["fail", "no"]], backoff=3600)
    waiting = way.reached(job_id, "delayed")
    assert (waiting["attemptsMade"], waiting["claim"], waiting["endAt"]) == (1, None, None)
    assert seconds(waiting["history"][0]["endAt"], waiting["delayTil"]) == pytest.approx(3600, abs=1)
    assert way.post(job_id, "requeue").status == 200
    job = way.ended(job_id)
    assert (job["state"], job["attemptsMade"]) == ("success", 1)


def test_a_success_after_a_failure(way: Way) -> None:
    job = way.done(["once", ["fail", "not yet"]], ["result", "in the end"], backoff=SHORT)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", "in the end", 2)
    assert outcomes(job) == ["fail", "success"]
    assert "not yet" in job["history"][0]["error"]["message"]


def test_a_job_that_dies_is_not_tried_again(way: Way) -> None:
    job = way.done(["die", "no such customer"], attempts=5)
    assert (job["state"], job["attemptsMade"], outcomes(job)) == ("killed", 1, ["die"])
    assert (job["error"]["kind"], job["error"]["message"]) == ("die", "no such customer")


def test_a_retry_waits_and_is_not_counted(way: Way) -> None:
    job = way.done(["once", ["retry", "come back later", RETRY_DELAY]], ["echo"], attempts=1)
    assert (job["state"], job["attemptsMade"], job["result"]["attempt"]) == ("success", 1, 1)
    assert outcomes(job) == ["retry", "success"]
    first, second = job["history"]
    assert (first["error"]["kind"], first["error"]["message"]) == ("retry", "come back later")
    assert RETRY_DELAY < seconds(first["endAt"], second["startAt"]) >= SHORTEST_RETRY


def test_a_retry_without_end_fails_the_job(way: Way) -> None:
    queue = f"/v1/queues/{way.name}"
    way.stage.api.call("PATCH", queue, {"maxRetries": 2})
    try:
        job = way.done(["retry", "not ready yet", RETRY_DELAY], attempts=3, onFailure={"type": "none", "queue": "none"})
    finally:
        way.stage.api.call("PATCH", queue, {"maxRetries": None})
    assert (job["state"], outcomes(job)) == ("failed", ["retry", "retry", "fail"])
    assert (job["error"]["kind"], job["error"]["message"][-13:]) == ("endless", "not ready yet")
    assert until(lambda: way.children(job["id"]), bool)


def test_what_nobody_foresaw_is_a_failure(way: Way) -> None:
    job = way.done(["log", "before"], ["once", ["crash"]], ["result", "recovered"], backoff=SHORT)
    assert (job["state"], job["result"], outcomes(job)) == ("success", "recovered", ["fail", "success"])
    assert job["history"][0]["error"]["message"]


def test_failures_of_one_mistake_are_one_group_and_others_are_not(way: Way) -> None:
    hosts = [
        "GET https://a.example.com/1 said 500",
        "GET https://a.example.com/22 said 501",
        "GET https://b.example.com/3",
    ]
    keys = ["KeyError: 'vat_id'", "KeyError: 'iban'", "KeyError: 'iban'"]
    jobs = [way.done(["fail", reason], attempts=1, meta={"mistake": True}) for reason in (*hosts, *keys)]
    groups = way.stage.api.get(f"/v1/failures?queue={way.name}&insertedAfter={jobs[0]['insertAt']}").body["items"]
    mine = {job["id"] for job in jobs}
    assert sorted(group["count"] for group in groups if group["sample"]["id"] in mine) == [1, 1, 2, 2]


@pytest.mark.parametrize("kind", UNSTORABLE)
def test_a_result_that_cannot_be_stored_does_not_undo_the_work(way: Way, kind: str) -> None:
    step, text = UNSTORABLE[kind]
    job = way.done(step, attempts=1)
    if way.name in REPORTING:
        assert (job["state"], job["result"], outcomes(job)) == ("failed", None, ["fail"])
        assert "result" in job["error"]["message"]
        return
    assert (job["state"], job["error"], outcomes(job)) == ("success", None, ["success"])
    assert job["result"].startswith(text)
    (line,) = [line for line in way.lines(job["id"]) if line.get("level") == "warning"]
    assert "cannot be stored as it is" in line["m"]


def test_a_result_that_is_too_large_to_be_stored_is_a_failed_attempt(way: Way) -> None:
    step = ["size", TOO_LARGE]
    job = way.done(step, attempts=1, onFailure=way.new(["result", "told"]))
    assert (job["state"], job["result"], outcomes(job)) == ("failed", None, ["fail"])
    assert "result" in job["error"]["message"]
    (child,) = until(lambda: way.children(job["id"]), bool)
    assert way.ended(child["id"])["result"] == "told"


def test_a_mebibyte_of_data_arrives_unchanged(way: Way) -> None:
    blob = "0123456789é日\U0001f40d" * 51_000
    assert len(blob.encode()) > 2**20 * 9 // 10
    job = way.done(["digest"], data={"blob": blob})
    assert (job["state"], job["result"]) == ("success", digest(blob))


def test_data_and_meta_arrive(way: Way) -> None:
    data = {"src": "ä.png", "deep": {"list": [1, 2.5, None, True, "\U0001f40d"]}, "dotted.name": {"": "empty"}}
    meta = {"user_id": 42, "tags": ["a", "b"], "nested": {"tenant": "größe"}}
    job = way.done(["echo"], data=data, meta=meta)
    assert job["result"] == {"data": {"do": [["echo"]], **data}, "meta": meta, "attempt": 1}


def test_the_number_of_the_attempt_grows(way: Way) -> None:
    job = way.done(["once", ["fail", "no"]], ["echo"], backoff=SHORT)
    assert job["result"]["attempt"] == 2


def test_a_child_reads_the_result_of_its_parent(way: Way) -> None:
    job = way.done(["result", {"size": 3}], onSuccess=way.new(["parent"]))
    (child,) = until(lambda: way.children(job["id"]), bool)
    born = way.ended(child["id"])
    assert (born["state"], born["result"], born["parentId"]) == ("success", {"size": 3}, job["id"])


def test_a_join_gets_all_results_however_large_they_are_together(way: Way) -> None:
    parts = [way.new(["size", 600_000 + number]) | {"ref": f"part{number}"} for number in range(15)]
    join = way.new(["join"]) | {"ref": "join", "dependsOn": [part["ref"] for part in parts]}
    batch = way.stage.api.post("/v1/batches", {"jobs": [join, *parts]})
    assert batch.status == 201, batch.body
    joined = way.ended(batch.body["jobs"][0]["id"])
    assert (joined["state"], joined["result"]) == ("success", [600_000 + number for number in range(15)])


def test_a_fan_out_that_is_repeated_has_every_part_once(way: Way) -> None:
    size, count = 600_000, 40
    half, whole = (["fan", way.name, 0, end, size] for end in (count // 2, count))
    jobs = [
        way.new(half, ["once", ["fail", "half-way"]], whole, ["result", "fan"], attempts=3, backoff=SHORT)
        | {"ref": "fan"},
        way.new(["join"]) | {"ref": "join", "dependsOn": ["fan"]},
    ]
    batch = way.stage.api.post("/v1/batches", {"jobs": jobs})
    assert batch.status == 201, batch.body
    joined = way.ended(batch.body["jobs"][1]["id"])
    assert joined["state"] == "success", joined["error"]
    assert sorted(joined["result"]) == [3, *(size + place for place in range(count))]
    assert outcomes(way.get(batch.body["jobs"][0]["id"])) == ["fail", "success"]
    assert way.stage.api.get(f"/v1/batches/{batch.body['id']}").body["counts"]["success"] == count + 2


def test_a_child_is_created_once(way: Way) -> None:
    job = way.done(["once", ["fail", "no"]], ["result", 1], backoff=SHORT, onSuccess=[way.new(), way.new()])
    token = job["history"][-1]["token"]
    assert way.post(job["id"], "succeed", token=token, result=1).status == 200
    for child in until(lambda: way.children(job["id"]), lambda found: len(found) >= 2):
        assert way.ended(child["id"])["state"] == "success"
    assert len(way.children(job["id"])) == 2


@pytest.mark.parametrize("end", ["fail", "die"])
def test_a_failure_has_its_own_children(way: Way, end: str) -> None:
    job = way.done([end, "no"], attempts=1, onSuccess=way.new(["result", "no"]), onFailure=way.new(["result", "yes"]))
    (child,) = until(lambda: way.children(job["id"]), bool)
    assert way.ended(child["id"])["result"] == "yes"
    assert len(way.children(job["id"])) == 1


def test_a_job_is_deleted_when_it_succeeds_if_that_is_wanted(way: Way) -> None:
    job_id = way.add(["log", "hello"], ["once", ["fail", "no"]], ["result", 1], backoff=SHORT, onSuccessDelete=True)
    until(lambda: way.stage.api.get(f"/v1/jobs/{job_id}").status, lambda status: status == 404)
    assert way.stage.ground.has(job_id, "once")


def test_what_runs_a_killed_job_is_told(way: Way) -> None:
    job_id = way.add(["hold"], attempts=3)
    way.held(job_id)
    assert way.post(job_id, "kill", reason="not needed").status == 200
    way.stopped(job_id)
    job = way.get(job_id)
    assert (job["state"], outcomes(job)) == ("killed", ["kill"])
    assert (job["error"]["message"], job["claim"], job["result"]) == ("not needed", None, None)


def test_a_run_that_takes_too_long_is_stopped_and_counted(way: Way) -> None:
    job_id = way.add(["once", ["hold"]], ["result", "quick"], timeout=3, lease=LEASE, backoff=SHORT)
    way.held(job_id)
    way.stopped(job_id)
    job = way.ended(job_id)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", "quick", 2)
    assert outcomes(job) == ["timeout", "success"]
    assert job["history"][0]["error"]["kind"] == "timeout"
    assert "3 s" in job["history"][0]["error"]["message"]


def test_a_job_longer_than_its_lease_is_kept_by_heartbeats(way: Way) -> None:
    job_id = way.add(["hold"], lease=LEASE)
    held = way.held(job_id)
    kept = until(lambda: way.get(job_id), lambda job: seconds(job["startAt"], job["resetAt"]) > 2.5 * LEASE)
    assert (kept["state"], kept["claim"]) == ("processing", held["claim"])
    way.go(job_id)
    job = way.ended(job_id)
    assert (job["state"], job["attemptsMade"], outcomes(job)) == ("success", 1, ["success"])


def test_a_job_whose_heartbeats_end_runs_elsewhere_and_the_late_one_changes_nothing(way: Way) -> None:
    job_id = way.add(["once", ["hold"]], ["result", "by another"], lease=LEASE, backoff=SHORT)
    held = way.held(job_id)
    way.freeze(held)
    try:
        job = way.ended(job_id)
    finally:
        way.thaw(held)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", "by another", 2)
    assert outcomes(job) == ["hanging", "success"]
    assert held["claim"]["worker"] in job["history"][0]["error"]["message"]
    way.stopped(job_id)
    # The history keeps what the late one has reported, if that came so far.
    present = way.get(job_id)
    assert present.pop("history")[1:] == job.pop("history")[1:]
    assert present == job


def test_a_report_under_an_old_claim_is_refused_and_kept(way: Way) -> None:
    job_id = way.add(["once", ["fail", "no"]], ["hold"], ["result", "mine"], backoff=SHORT)
    job = way.held(job_id)
    old = job["history"][0]["token"]
    beat = way.post(job_id, "heartbeat", token=old, progress=90, logs=["from the grave"])
    refused = way.post(job_id, "succeed", token=old, result="too late")
    assert (beat.status, refused.status) == (409, 409)
    present = way.get(job_id)
    assert (present["state"], present["claim"], present["progress"]) == ("processing", job["claim"], job["progress"])
    way.go(job_id)
    ended = way.ended(job_id)
    assert (ended["state"], ended["result"], outcomes(ended)) == ("success", "mine", ["fail", "success"])
    assert (ended["history"][0]["late"]["outcome"], ended["history"][0]["late"]["result"]) == ("success", "too late")
    assert "from the grave" not in [line["m"] for line in way.lines(job_id)]


def test_a_final_report_that_is_repeated_has_no_second_effect(way: Way) -> None:
    job = way.done(["result", 1])
    again = way.post(job["id"], "succeed", token=job["history"][0]["token"], result=1)
    assert (again.status, again.body["state"]) == (200, "success")
    assert way.get(job["id"]) == job
    failed = way.done(["fail", "no"], attempts=1)
    again = way.post(failed["id"], "fail", token=failed["history"][0]["token"], reason="no")
    assert (again.status, again.body["state"]) == (200, "failed")
    assert way.get(failed["id"]) == failed


def test_a_report_of_a_job_that_was_killed_is_refused(way: Way) -> None:
    job_id = way.add(["hold"])
    token = way.held(job_id)["claim"]["token"]
    way.post(job_id, "kill")
    assert way.post(job_id, "succeed", token=token, result=1).status == 409
    way.stopped(job_id)
    assert way.get(job_id)["state"] == "killed"


def test_a_delayed_job_waits(way: Way) -> None:
    job_id = way.add(["result", 1], delay=3)
    assert way.get(job_id)["state"] == "delayed"
    job = way.ended(job_id)
    assert (job["state"], job["attemptsMade"]) == ("success", 1)
    assert seconds(job["insertAt"], job["startAt"]) >= 3


def test_two_jobs_run_at_once(way: Way) -> None:
    jobs = [way.add(["hold"], ["result", number]) for number in range(2)]
    running = [way.held(job_id) for job_id in jobs]
    assert [job["state"] for job in running] == ["processing"] * 2
    for job_id in jobs:
        way.go(job_id)
    assert [way.ended(job_id)["result"] for job_id in jobs] == [0, 1]


def test_a_requeued_job_runs_with_what_was_changed(way: Way) -> None:
    failed = way.done(["log", "old"], ["fail", "wrong input"], attempts=1)
    changed = {"do": [["log", "new"], ["echo"]], "n": 2}
    assert way.post(failed["id"], "requeue", data=changed, attempts=2).status == 200
    job = way.ended(failed["id"])
    assert (job["state"], job["attemptsMade"], job["attempts"]) == ("success", 1, 2)
    assert job["result"] == {"data": changed, "meta": {}, "attempt": 1}
    assert outcomes(job) == ["fail", "requeue", "success"]
    assert job["history"][1]["was"] == {"data": failed["data"], "attempts": 1}
    assert [line["m"] for line in way.lines(job["id"]) if line["m"] in {"old", "new"}] == ["old", "new"]


def test_a_successful_job_can_be_run_once_more(way: Way) -> None:
    first = way.done(["once", ["log", "only now"]], ["result", 1])
    assert way.post(first["id"], "requeue").status == 200
    job = way.reached(first["id"], "success")
    again = until(lambda: way.get(job["id"]), lambda one: len(one["history"]) == 3 and one["state"] == "success")
    assert (again["attemptsMade"], outcomes(again)) == (1, ["success", "requeue", "success"])
    assert len(way.lines(job["id"])) == 1


IN_PYTHON = {"callback", "thread", "http"}
LARGE = 100_000
"""Characters of a result of a step that is kept outside of the document of its job."""


def test_a_job_goes_on_at_the_step_that_failed(way: Way) -> None:
    fetch, store = ["step", "fetch", ["result", {"rows": [1, 2.5, None]}]], ["step", "store", ["result", 2]]
    job = way.done(fetch, ["once", ["fail", "disk full"]], store, fetch, backoff=SHORT)
    assert (job["state"], outcomes(job)) == ("success", ["fail", "success"])
    # A name that is used again in one start is another step for handlers in Python only.
    twice = way.name in IN_PYTHON
    assert way.noted(job["id"]) == ["fetch", "store", *(["fetch"] if twice else [])]
    assert way.finished(job["id"]) == ["fetch", "store", *(["fetch#2"] if twice else [])]
    assert (job["result"], job["history"][0]["steps"]) == ({"rows": [1, 2.5, None]}, ["fetch"])


def test_a_large_result_of_a_step_is_kept(way: Way) -> None:
    first = ["once", ["step", "large", ["size", LARGE]], ["fail", "no"]]
    job = way.done(first, ["step", "large", ["size", 1]], backoff=SHORT)
    assert (job["state"], len(job["result"]), way.noted(job["id"])) == ("success", LARGE, ["large"])


def test_a_finished_step_outlives_its_process(way: Way) -> None:
    steps = [["step", "fetch", ["result", 3]], ["next"], ["once", ["hold"]], ["step", "store", ["result", 4]]]
    job_id = way.add(*steps, lease=LEASE, attempts=3, backoff=SHORT)
    held = way.held(job_id)
    assert way.finished(job_id) == ["fetch"]
    way.kill_process(held)
    job = way.ended(job_id)
    assert (job["state"], job["result"], way.noted(job_id)) == ("success", 4, ["fetch", "store"])
    assert way.finished(job_id) == ["fetch", "store"]


def test_a_sleep_suspends_the_job_uncounted(way: Way) -> None:
    steps = [["step", "before", ["result", 1]], ["sleep", "rest", 1.5], ["step", "after", ["result", 2]]]
    job = way.done(*steps, attempts=1)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", 2, 1)
    assert outcomes(job) == ["suspend", "success"]
    assert way.noted(job["id"]) == ["before", "after"]
    assert [(step["name"], step["kind"]) for step in job["steps"]] == [
        ("before", "step"),
        ("rest", "sleep"),
        ("after", "step"),
    ]
    first, second = job["history"]
    assert seconds(first["endAt"], second["startAt"]) >= 1


def test_a_result_of_a_step_that_cannot_be_stored_fails_the_attempt(way: Way) -> None:
    job = way.done(["step", "good", ["result", 1]], ["step", "bad", ["read", '{"$where": 1}']], attempts=1)
    assert (job["state"], outcomes(job)) == ("failed", ["fail"])
    assert "bad" in job["error"]["message"]
    assert way.finished(job["id"]) == ["good"]


def test_a_renamed_step_runs_again_unless_its_old_name_is_told(way: Way) -> None:
    first = ["once", ["step", "old", ["result", 1]], ["fail", "no"]]
    job = way.done(first, ["step", "new", ["result", 2], "old"], backoff=SHORT)
    expected = (1, ["old"]) if way.name in IN_PYTHON else (2, ["old", "new"])
    assert (job["result"], way.noted(job["id"])) == expected


def test_a_requeue_starts_again_from_a_step(way: Way) -> None:
    steps = [["step", name, ["result", name]] for name in ("one", "two", "three")]
    failed = way.done(*steps, ["once", ["fail", "no"]], attempts=1)
    assert way.post(failed["id"], "requeue", fromStep="two").status == 200
    job = way.ended(failed["id"])
    assert (job["state"], outcomes(job)) == ("success", ["fail", "requeue", "success"])
    assert way.noted(job["id"]) == ["one", "two", "three", "two", "three"]
    assert job["history"][1]["forgot"] == ["two", "three"]


def test_a_signal_ends_the_wait_of_a_job(way: Way) -> None:
    job_id = way.add(["step", "ask", ["result", 1]], ["signal", "approved"], attempts=1)
    waiting = until(lambda: way.get(job_id), lambda job: job.get("wait"))
    assert (waiting["state"], waiting["wait"]["signals"], waiting["delayTil"]) == ("delayed", ["approved"], None)
    assert way.post(job_id, "signals/approved", value={"by": "ann"}).status < 300
    job = way.ended(job_id)
    assert (job["state"], job["result"], outcomes(job)) == ("success", {"by": "ann"}, ["suspend", "success"])
    assert (job["attemptsMade"], way.noted(job_id), way.finished(job_id)) == (1, ["ask"], ["ask", "approved"])


def test_a_signal_that_came_before_is_kept_and_one_that_does_not_come_is_late(way: Way) -> None:
    late = ["signal", "late", SHORT]
    job_id = way.add(["hold"], late, ["step", "seen", ["result", 1]], ["signal", "approved"], attempts=1)
    way.held(job_id)
    way.post(job_id, "signals/approved", value="early")
    way.go(job_id)
    job = way.ended(job_id)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", "early", 1)
    kinds = [(step["name"], (step.get("error") or {}).get("kind")) for step in job["steps"]]
    assert kinds == [("late", "timeout"), ("seen", None), ("approved", None)]
    assert way.done(late, attempts=1)["result"] == LATE


def test_children_are_awaited_without_a_slot(way: Way) -> None:
    part = way.new(["result", 3], attempts=1)
    job = way.done(["call", "one", part], ["call", "many", [part, part]], attempts=1)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", [3, 3], 1)
    assert outcomes(job) == ["suspend", "suspend", "success"]
    assert [(step["name"], step["kind"]) for step in job["steps"]] == [("one", "call"), ("many", "map")]
    assert len(way.children(job["id"])) == 3


def test_a_failed_child_fails_the_attempt_and_runs_again_in_the_next(way: Way) -> None:
    part = way.new(["once", ["fail", "the disk is full"]], ["result", 5], attempts=1)
    job = way.done(["call", "part", part], attempts=2, backoff=SHORT)
    assert (job["state"], job["result"], job["attemptsMade"]) == ("success", 5, 2)
    assert outcomes(job) == ["suspend", "fail", "suspend", "success"]
    assert "the disk is full" in job["history"][1]["error"]["message"]
    (child,) = way.children(job["id"])
    assert outcomes(child) == ["fail", "requeue", "success"]


def test_a_failure_of_a_child_may_be_a_result(way: Way) -> None:
    job = way.done(["call", "part", way.new(["die", "no such disk"], attempts=1), "return"], attempts=1)
    assert (job["state"], outcomes(job)) == ("success", ["suspend", "success"])
    (child,) = way.children(job["id"])
    failure = {"id": child["id"], "state": "killed", "error": {"kind": "die", "message": "no such disk"}}
    assert job["result"] == {"childFailed": failure}


def test_one_slot_takes_the_most_important_first(one_slot: Way) -> None:
    way = one_slot
    blocker = way.add(["hold"])
    way.held(blocker)
    priorities = [0, 5, -3, 5, 0]
    jobs = [way.add(["result", number], priority=priority) for number, priority in enumerate(priorities)]
    assert {way.get(job_id)["state"] for job_id in jobs} == {"pending"}
    way.go(blocker)
    ended = sorted((way.ended(job_id) for job_id in jobs), key=lambda job: job["startAt"])
    assert [job["result"] for job in ended] == [1, 3, 0, 4, 2]
