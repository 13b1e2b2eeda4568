"""Alerts when one thing fails, when another alert has the name, and when a receiver quotes the address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock
from urllib.parse import urljoin

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.alerts.sending import AlertSender
from jobqueue.store.pulse import PulseStore
from tests.integration.alerts.test_alerts import ANN, alert, boom, events, look
from tests.support.data.factories import claim, open_runtime
from tests.unit.processors.webhook_receiver import LOOPBACK, receiving, reply

if TYPE_CHECKING:
    import pytest

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


async def test_a_message_that_fails_holds_up_no_other_one(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alert(idle_runtime)
    for message in ("first", "second", "third"):
        await boom(idle_runtime, message)
    send = idle_runtime.alerts.send

    seen: list[str] = []

    async def spoilt(body: Any, job_id: str | None = None) -> Any:
        seen.append(body["thing"])
        if body["thing"] == seen[0]:
            raise RuntimeError("spoilt")
        return await send(body, job_id)

    with monkeypatch.context() as patched:
        patched.setattr(idle_runtime.alerts, "send", spoilt)
        for _ in range(2):
            assert len(await look(idle_runtime)) == 2
    assert events(await look(idle_runtime)) == [("failures", "new")] * 3


async def test_a_message_of_a_former_alert_is_not_sent_by_another_of_its_name(idle_runtime: Runtime) -> None:
    await alert(idle_runtime)
    await boom(idle_runtime)
    await look(idle_runtime)
    old = await claim(idle_runtime, ALERT_QUEUE)
    await idle_runtime.alerts.delete("ops", by=ANN)
    await alert(idle_runtime)
    client = Mock()
    verdict: Any = await AlertSender(client, idle_runtime.alerts.store, None).run(old.job, Mock())
    assert (verdict.error.kind, client.message.called) == ("no-alert", False)


async def test_a_receiver_that_quotes_its_address_tells_no_reader_of_it(idle_runtime: Runtime) -> None:
    answer = b"Cannot POST /services/T0/hush, see http://127.0.0.1/services/T0/hush?key=hidden-key"
    async with receiving(reply("404 Not Found", body=answer)) as receiver:
        await alert(idle_runtime, url=urljoin(receiver.url, "/services/T0/hush?key=hidden-key"))
        await idle_runtime.alerts.test("ops")
        claimed = await claim(idle_runtime, ALERT_QUEUE)
        async with WebhookClient(allow=LOOPBACK) as client:
            verdict: Any = await AlertSender(client, idle_runtime.alerts.store, None).run(claimed.job, Mock())
    assert "Cannot POST" in str(verdict.error)
    assert "hush" not in str(verdict.error)
    assert "hidden-key" not in str(verdict.error)


async def test_a_process_at_rest_hears_of_the_first_alert(idle_runtime: Runtime, settings: Settings) -> None:
    await idle_runtime.detector.run_once()
    detector: Any = idle_runtime.detector
    assert not detector.has_any
    store = PulseStore(idle_runtime.database)
    async with open_runtime(settings) as other:
        await alert(other)
        assert (await store.look(["alerts"])).due == {"alerts"}
        detector.found()
        assert detector.has_any
        await other.alerts.delete("ops", by=ANN)
    assert (await store.look(["alerts"])).due == set()
