"""Plays jobs as the receiver of webhooks: ``/held`` answers when the job has ended, ``/accepted`` at once."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import ClientSession, web
from standardwebhooks.webhooks import Webhook

from tests.support.conformance.play import (
    CONFLICT,
    UNACCEPTABLE,
    AgainError,
    DeadError,
    FailedError,
    Ground,
    Seen,
    StoppedError,
    SuspendedError,
    answered,
    drive_async,
    pause,
    play,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BEAT = 0.1
_MOST_BODY = 16 * 1024 * 1024


class Run:
    """One delivered job; it reports over the API with the token that came along."""

    def __init__(self, session: ClientSession, sent: dict[str, Any], *, beats: bool) -> None:
        self.job = Seen.of(sent)
        self._parent_id = sent["job"]["parentId"]
        self._token = sent["token"]
        self._session = session
        self._beats = beats
        self._beaten_at = time.monotonic()
        self._ground = Ground.here()
        self._steps: dict[str, Any] = {}

    async def decide(self) -> dict[str, Any]:
        """Return the reply that decides about the job, with its new steps."""
        decided = await self._decide()
        return {**decided, "steps": self._steps} if self._steps else decided

    async def _decide(self) -> dict[str, Any]:
        try:
            result = await drive_async(play(self.job, self._ground), self.act)
        except DeadError as error:
            return {"outcome": "die", "reason": str(error)}
        except AgainError as error:
            return {"outcome": "retry", "reason": error.reason, "delay": error.delay}
        except FailedError as error:
            return {"outcome": "fail", "reason": str(error)}
        except SuspendedError as error:
            return {"outcome": "suspend", **error.how}
        except (StoppedError, asyncio.CancelledError):
            self._ground.mark(self.job.id, "stopped")
            raise
        return {"outcome": "success", "result": result}

    async def report(self) -> None:
        """Play the job and report its end over the API."""
        try:
            decided = await self.decide()
        except StoppedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever the program raises is the failure of its job
            decided = {"outcome": "fail", "reason": repr(error)}
        outcome = decided.pop("outcome")
        status, answer = await self._post("succeed" if outcome == "success" else outcome, decided)
        if status in UNACCEPTABLE:
            await self._post("fail", {"reason": answer["detail"]})

    async def act(self, verb: str, *words: Any) -> Any:
        match verb:
            case "log":
                await self._beat(logs=[{"m": words[0], "level": words[1]}])
            case "progress":
                await self._beat(progress=words[0])
            case "parent":
                async with self._session.get(f"/v1/jobs/{self._parent_id}") as answer:
                    return (await answer.json())["result"]
            case "results":
                return [await self._result(parent) for parent in self.job.parents]
            case "add":
                await self._add(*words)
            case "step" | "sleep" | "next" | "signal" | "call":
                return await self._of_steps(verb, *words)
            case _:
                while self._ground.has(self._token, "frozen"):
                    await pause()
                if self._beats and time.monotonic() - self._beaten_at > _BEAT:
                    await self._beat()
                await pause()
        return None

    async def _of_steps(self, verb: str, *words: Any) -> Any:
        if verb == "step":
            return await self._step(*words)
        if verb in {"sleep", "signal", "call"} and words[0] not in self.job.steps:
            await self._suspend(verb, *words)
        if verb in {"signal", "call"}:
            return answered(self.job.steps[words[0]])
        if verb == "next" and self._steps:
            raise SuspendedError(delay=0)
        return None

    async def _suspend(self, verb: str, name: str, *words: Any) -> NoReturn:
        if verb == "sleep":
            raise SuspendedError(name=name, delay=words[0])
        if verb == "signal":
            raise SuspendedError(signal=name, timeout=words[0])
        jobs, failures = words
        if not self._beats:
            raise SuspendedError(calls={name: {"jobs": jobs, "failures": failures}})
        status, answer = await self._post("calls", {"name": name, "jobs": jobs, "failures": failures})
        if status == CONFLICT:
            raise FailedError(answer["detail"])
        raise SuspendedError

    async def _step(self, name: str, _was: str | None, function: Callable[[], Any]) -> Any:
        """Do a step: kept with the reply, or over the API where the reply was sent already."""
        if name in self.job.steps:
            return self.job.steps[name]
        result = function()
        if not self._beats:
            self._steps[name] = result
            return result
        status, answer = await self._post("steps", {"name": name, "result": result})
        if status in UNACCEPTABLE:
            raise FailedError(f"step {name}: {answer['detail']}")
        return answer["result"]

    async def _add(self, jobs: list[dict[str, Any]]) -> None:
        body = {"jobs": jobs, "token": self._token}
        async with self._session.post(f"/v1/batches/{self.job.batch_id}/jobs", json=body) as answer:
            if answer.status not in {200, 201}:
                raise RuntimeError(await answer.text())

    async def _result(self, parent: dict[str, Any]) -> Any:
        if not parent.get("omitted"):
            return parent["result"]
        async with self._session.get(parent["url"]) as answer:
            return (await answer.json())["result"]

    async def _beat(self, **report: Any) -> None:
        status, answer = await self._post("heartbeat", report)
        self._beaten_at = time.monotonic()
        if status == 409 or (status == 200 and answer["cancelled"]):
            raise StoppedError

    async def _post(self, verb: str, report: dict[str, Any]) -> tuple[int, Any]:
        body = {"token": self._token, **report}
        async with self._session.post(f"/v1/jobs/{self.job.id}/{verb}", json=body) as answer:
            return answer.status, await answer.json(content_type=None)


def application(session: ClientSession, secret: str) -> web.Application:
    running: set[asyncio.Task[None]] = set()

    async def read(request: web.Request) -> dict[str, Any]:
        body = await request.read()
        Webhook(secret).verify(body, dict(request.headers))
        sent: dict[str, Any] = json.loads(body)
        return sent

    async def held(request: web.Request) -> web.Response:
        return web.json_response(await Run(session, await read(request), beats=False).decide())

    async def accepted(request: web.Request) -> web.Response:
        run = Run(session, await read(request), beats=True)
        task = asyncio.create_task(run.report())
        running.add(task)
        task.add_done_callback(running.discard)
        return web.Response(status=202)

    app = web.Application(client_max_size=_MOST_BODY)
    app.router.add_post("/held", held)
    app.router.add_post("/accepted", accepted)
    return app


async def main(url: str, secret: str) -> None:
    async with ClientSession(url) as session:
        runner = web.AppRunner(application(session, secret), handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[2], sys.argv[3]))
