"""Plays jobs by polling over HTTP, one at a time: it claims with a wait, sends heartbeats and reports the end."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import Any

from tests.support.conformance.calls import Answer, Api
from tests.support.conformance.play import (
    PAUSE,
    UNACCEPTABLE,
    AgainError,
    DeadError,
    FailedError,
    Ground,
    Seen,
    StoppedError,
    drive,
    play,
)

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
            case "add":
                self._api.add(self._job.batch_id, self._token, *words)
            case _:
                if time.monotonic() - self._beaten_at > _BEAT:
                    self.beat()
                time.sleep(PAUSE)
        return None

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
        claimed = api.post(f"/v1/queues/{queue}/claim", {"worker": worker, "wait": 20})
        if claimed.status == 200:
            Run(api, claimed.body, ground).run()


if __name__ == "__main__":
    main(sys.argv[2], "polling")
