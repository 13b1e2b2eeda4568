"""A receiver of webhooks with aiohttp: it checks signatures, and answers at once, later, or step by step.

python webhook_receiver.py [PORT]    (8300; 0 takes a free one)

WEBHOOK_SECRETS   the secrets of the queue, with spaces between them: two while one is replaced
JOBQUEUE_URL      the server that "later" reports to; http://localhost:8080 by default

Jobs of the type "thumbnail" are answered at once, "film" with 202 and a later report, and "order" step by step.

  jobqueue serve --webhook-allow 127.0.0.0/8
  jobqueue queue set hooks 'processors={"*": {"kind": "webhook", "url": "http://127.0.0.1:8300/job"}}'
  WEBHOOK_SECRETS=whsec_… python webhook_receiver.py
  jobqueue add order '{"item": "book"}' --queue hooks

Try: a wrong secret (401, a failed attempt), jobqueue queue rotate-secret, kill the receiver while a film is made,
"jobqueue signal ID approved true" for an order that waits.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

TOLERANCE = 300
"""Seconds that the time of a message may differ from ours: an old one may be a repetition by somebody else."""
Json = dict[str, Any]


def verify(body: bytes, headers: Any, secrets: list[str], now: float) -> None:
    """Check that a body comes from a server that knows one of the secrets.

    Raises:
        ValueError: it does not, or it is not of the present.
    """
    identifier, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not moment.isascii() or not moment.isdigit() or abs(now - int(moment)) > TOLERANCE:
        raise ValueError("the time of the message is not the present")
    signed = b".".join([identifier.encode(), moment.encode(), body])
    given = [
        part.removeprefix("v1,") for part in headers.get("webhook-signature", "").split() if part.startswith("v1,")
    ]
    is_known = False
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_") + "==")
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
        for signature in given:
            # Compared in a time that says nothing about the signature; and all of them, in any case.
            is_known |= hmac.compare_digest(expected, signature.encode())
    if not is_known:
        raise ValueError("no signature is by a known secret")


class Receiver:
    """Runs the jobs that it is sent. A repeated request of an attempt gets the same answer."""

    def __init__(self, secrets: list[str], url: str) -> None:
        self.secrets = secrets
        self.url = url
        self.effects: list[str] = []
        self._answers: dict[str, asyncio.Task[web.Response]] = {}
        self._films: set[asyncio.Task[None]] = set()

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            verify(body, request.headers, self.secrets, time.time())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=401)
        sent: Json = json.loads(body)
        # The token is the same for all requests of an attempt. The id is so for all attempts, until the job waits or is
        # requeued: where a second attempt must not repeat an effect, keep the id beside the effect in your database.
        key = f"{request.headers['webhook-id']} {sent.get('token')}"
        if key not in self._answers:
            self._answers[key] = asyncio.create_task(self._answer(sent))
        while len(self._answers) > 10_000:
            del self._answers[next(iter(self._answers))]
        # Shielded: the work goes on if the sender gives up, and its repetition finds the answer.
        answer = await asyncio.shield(self._answers[key])
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    async def _answer(self, sent: Json) -> web.Response:
        job = sent.get("job") or {}
        match job.get("type"):
            case "thumbnail":
                self.effects.append(f"thumbnail {job['data']['src']}")
                return web.json_response({"width": 320})
            case "film":
                film = asyncio.create_task(self._film(sent))
                self._films.add(film)
                film.add_done_callback(self._films.discard)
                return web.json_response({}, status=202)
            case "order":
                return web.json_response(self._order(job))
            case None:  # no job: an alert, or a ping
                print(sent.get("text", ""), flush=True)
                return web.json_response({})
        return web.json_response({"outcome": "die", "reason": f"no such type: {job.get('type')}"})

    def _order(self, job: Json) -> Json:
        """Do the next step of an order. Each is a short request, and each wait costs nothing here."""
        steps: Json = job["steps"]
        if "reserve" not in steps:
            self.effects.append(f"reserve {job['data']['item']}")
            return {"outcome": "suspend", "delay": 0, "steps": {"reserve": {"shelf": 7}}}
        if "approved" not in steps:
            return {"outcome": "suspend", "signal": "approved", "timeout": 86400}
        if steps["approved"] is not True:
            return {"outcome": "die", "reason": "the order was not approved"}
        self.effects.append(f"send {job['data']['item']}")
        return {"outcome": "success", "result": f"sent from shelf {steps['reserve']['shelf']}"}

    async def _film(self, sent: Json) -> None:
        """Make a film after the answer, and report with the token of the request."""
        path = f"{self.url}/v1/jobs/{sent['job']['id']}"
        timeout = ClientTimeout(total=60)
        async with ClientSession(headers={"Authorization": f"Claim {sent['token']}"}, timeout=timeout) as session:
            for percent in (0, 50):
                async with session.post(
                    f"{path}/heartbeat", json={"progress": percent, "logs": [f"{percent} %"]}
                ) as reply:
                    if reply.status != 200 or (await reply.json())["cancelled"]:
                        return  # killed, or somebody else's by now
                await asyncio.sleep(0.1)
            self.effects.append(f"film {sent['job']['data']['src']}")
            async with session.post(f"{path}/succeed", json={"result": {"seconds": 90}}) as reply:
                reply.raise_for_status()

    async def show(self, _request: web.Request) -> web.Response:
        return web.json_response(self.effects)


async def main(port: int) -> None:
    secrets = os.environ.get("WEBHOOK_SECRETS", "").split()
    if not secrets:
        sys.exit("WEBHOOK_SECRETS is not set: the secret is shown when a webhook or an alert is configured")
    receiver = Receiver(secrets, os.environ.get("JOBQUEUE_URL", "http://localhost:8080"))
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.add_routes([web.post("/job", receiver.receive), web.post("/alert", receiver.receive)])
    app.add_routes([web.get("/effects", receiver.show)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8300))
