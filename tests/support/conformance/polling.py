"""Plays jobs by polling over HTTP, one at a time: it claims with a wait, sends heartbeats and reports the end."""

from __future__ import annotations

import os
import sys
import time
import traceback
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, NoReturn

from tests.support.conformance.calls import Answer, Api
from tests.support.conformance.play import (
    CONFLICT,
    PAUSE,
    UNACCEPTABLE,
    AgainError,
    DeadError,
    FailedError,
    Ground,
    Seen,
    StoppedError,
    SuspendedError,
    answered,
    drive,
    play,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BEAT = 0.1


class Run:
    """One claimed job."""

    def __init__(self, api: Api, claimed: dict[str, Any], ground: Ground) -> None:
        self._api = api
        self._job = Seen.of(claimed)
        self._parent_id = claimed["job"]["parentId"]
        self._token = claimed["token"]
        self._ground = ground
        self._beaten_at = time.monotonic()

    def run(self) -> None:
        try:
            result = drive(play(self._job, self._ground), self.act)
        except StoppedError:
            self._ground.mark(self._job.id, "stopped")
        except SuspendedError as error:
            self.end("suspend", **error.how)
        except DeadError as error:
            self.end("die", reason=str(error))
        except AgainError as error:
            self.end("retry", reason=error.reason, delay=error.delay)
        except FailedError as error:
            self.end("fail", reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever the program raises is the failure of its job
            self.end("fail", reason=repr(error), trace=traceback.format_exc())
        else:
            answer = self.end("succeed", result=result)
            if answer.status in UNACCEPTABLE:
                self.end("fail", reason=answer.body["detail"])

    def act(self, verb: str, *words: Any) -> Any:
        match verb:
            case "log":
                line, level = words
                self.beat(logs=[line if level is None else {"m": line, "level": level}])
            case "progress":
                self.beat(progress=words[0])
            case "parent":
                return self._api.get(f"/v1/jobs/{self._parent_id}").body["result"]
            case "results":
                return self._api.results(self._job.parents)
            case "step" | "sleep" | "next" | "signal" | "call":
                return self._of_steps(verb, *words)
            case "add":
                self._api.add(self._job.batch_id, self._token, *words)
            case _:
                if time.monotonic() - self._beaten_at > _BEAT:
                    self.beat()
                time.sleep(PAUSE)
        return None

    def _of_steps(self, verb: str, *words: Any) -> Any:
        if verb in {"sleep", "signal", "call"} and words[0] not in self._job.steps:
            self.suspend(verb, *words)
        if verb in {"signal", "call"}:
            return answered(self._job.steps[words[0]])
        return self.step(*words) if verb == "step" else None

    def suspend(self, verb: str, name: str, *words: Any) -> NoReturn:
        if verb == "sleep":
            raise SuspendedError(name=name, delay=words[0])
        if verb == "signal":
            raise SuspendedError(signal=name, timeout=words[0])
        jobs, failures = words
        answer = self.end("calls", name=name, jobs=jobs, failures=failures)
        if answer.status == CONFLICT:
            raise FailedError(answer.body["detail"])
        raise SuspendedError

    def step(self, name: str, _was: str | None, function: Callable[[], Any]) -> Any:
        if name in self._job.steps:
            return self._job.steps[name]
        answer = self.end("steps", name=name, result=function())
        if answer.status in UNACCEPTABLE:
            raise FailedError(f"step {name}: {answer.body['detail']}")
        return answer.body["result"]

    def beat(self, **report: Any) -> None:
        answer = self._api.post(f"/v1/jobs/{self._job.id}/heartbeat", {"token": self._token, **report})
        self._beaten_at = time.monotonic()
        if answer.status == 409 or (answer.status == 200 and answer.body["cancelled"]):
            raise StoppedError

    def end(self, verb: str, **report: Any) -> Answer:
        return self._api.post(f"/v1/jobs/{self._job.id}/{verb}", {"token": self._token, **report})


def main(url: str, queue: str) -> None:
    api, ground = Api(url), Ground.here()
    worker = f"poller:{os.getpid()}:0"
    sys.stdout.write(f"{worker}\n")
    sys.stdout.flush()
    while True:
        try:
            claimed = api.post(f"/v1/queues/{queue}/claim", {"worker": worker, "wait": 20})
        except (OSError, HTTPException):
            # The server was killed, and another will be at its place.
            time.sleep(PAUSE)
            continue
        if claimed.status == 200:
            Run(api, claimed.body, ground).run()


if __name__ == "__main__":
    main(sys.argv[2], "polling")
