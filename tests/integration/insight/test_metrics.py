"""What Prometheus is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import parser as untyped
from prometheus_client.openmetrics import parser as openmetrics

from jobqueue.api.app import make_app
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.services.insight import metrics
from jobqueue.services.insight.job_counts import JobCounts
from jobqueue.services.insight.metrics import OTHERS, Metrics
from tests.support.data.factories import add, claimed_job, end_lease, fail, patient_reaper, retry, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]
    Figures = dict[tuple[str, tuple[str, ...]], float]


LABELS = ("queue", "state", "outcome")
prometheus: Any = untyped


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


def read(text: str) -> Figures:
    return {
        (sample.name, tuple(sample.labels[one] for one in LABELS if one in sample.labels)): sample.value
        for family in prometheus.text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_prometheus_reads_gauges_counters_and_histograms(client: Client, idle_runtime: Runtime) -> None:
    await succeed(idle_runtime, await claimed_job(idle_runtime, queue="a:b"))
    await fail(idle_runtime, await claimed_job(idle_runtime, queue="a:b", attempts=1))
    await retry(idle_runtime, await claimed_job(idle_runtime, queue="a:b"), 1000)
    hanging = await claimed_job(idle_runtime, queue="h", backoff=None, attempts=1)
    await end_lease(idle_runtime, hanging.job)
    reaper = patient_reaper(idle_runtime)
    reaper.metrics = idle_runtime.metrics
    await reaper.run_once()
    await add(idle_runtime, queue="a:b")
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found = read(await answer.text())
    expected = {
        ("jobqueue_jobs", ("a:b", "success")): 1,
        ("jobqueue_jobs", ("a:b", "delayed")): 1,
        ("jobqueue_jobs", ("a:b", "pending")): 1,
        ("jobqueue_jobs", ("a:b", "killed")): 0,
        ("jobqueue_claims_total", ("a:b",)): 3,
        ("jobqueue_attempts_total", ("a:b", "retry")): 1,
        ("jobqueue_attempts_total", ("h", "hanging")): 1,
        ("jobqueue_finished_total", ("a:b", "success")): 1,
        ("jobqueue_finished_total", ("h", "failed")): 1,
        ("jobqueue_wait_seconds_count", ("a:b",)): 3,
        ("jobqueue_run_seconds_count", ("a:b",)): 3,
        ("jobqueue_database_up", ()): 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert ("jobqueue_run_seconds_count", ("h",)) not in found
    assert 0 <= found["jobqueue_oldest_ready_seconds", ("a:b",)] < 60
    assert found["jobqueue_wait_seconds_sum", ("a:b",)] < 60
    assert any(name == "jobqueue_build_info" for name, _ in found)


async def test_openmetrics_is_given_to_who_asks_for_it(client: Client) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    read: Any = openmetrics.text_string_to_metric_families
    assert {one.name for one in read(await answer.text())} >= {"jobqueue_jobs"}
    assert (await client.get("/metrics?x=1")).status == 422


def fresh(runtime: Runtime) -> Metrics:
    return Metrics(JobCounts(runtime.figures, fresh=0), runtime.database.clock)


async def test_many_queues_do_not_become_many_labels(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_QUEUES", 2)
    idle_runtime.work.metrics = counted = fresh(idle_runtime)
    for number in range(5):
        await succeed(idle_runtime, await claimed_job(idle_runtime, queue=f"q{number}"))
    await add(idle_runtime, queue="q4")
    found = read((await counted.text(""))[0].decode())
    queues = [labels[0] for name, labels in found if name == "jobqueue_jobs" and labels[1] == "success"]
    assert sorted(queues) == [OTHERS, "q0", "q4"]
    assert found["jobqueue_jobs", (OTHERS, "success")] == 3
    assert found["jobqueue_claims_total", (OTHERS,)] == 3


async def test_without_the_database_the_process_is_still_told_of(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = fresh(idle_runtime)

    async def away(*_: Any) -> None:
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr(counted._job_counts._figures, "count_by_queue", away)
    found = read((await counted.text(""))[0].decode())
    assert found["jobqueue_database_up", ()] == 0
    assert not [name for name, _ in found if name == "jobqueue_jobs"]
