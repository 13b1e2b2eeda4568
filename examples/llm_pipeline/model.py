"""A stand-in for a language model over HTTP, which is busy or broken now and then.

python model.py [PORT]    (8100; 0 takes a free one)
"""

import asyncio
import sys

from aiohttp import web

PROMPT_PRICE, ANSWER_PRICE = 1, 4
"""Prices of a token, in millionths of a dollar."""


class Model:
    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.spent = 0

    async def answer(self, request: web.Request) -> web.Response:
        question = await request.json()
        words = question["prompt"].split()
        if not words:
            return web.json_response({"error": "the prompt is empty"}, status=400)
        self.requests += 1
        if self.requests % 5 == 2:
            return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "1"})
        if self.requests % 7 == 3:
            return web.json_response({"error": "overloaded"}, status=500)
        await asyncio.sleep(0.05)
        answer = words[: min(question["max_tokens"], 12)]
        self.answers += 1
        self.spent += len(words) * PROMPT_PRICE + len(answer) * ANSWER_PRICE
        usage = {"prompt_tokens": len(words), "completion_tokens": len(answer)}
        return web.json_response({"text": " ".join(answer), "usage": usage})

    async def show(self, _request: web.Request) -> web.Response:
        return web.json_response({"spent": self.spent, "answers": self.answers, "requests": self.requests})


async def main(port: int) -> None:
    model = Model()
    app = web.Application()
    app.add_routes([web.post("/v1/answer", model.answer), web.get("/spent", model.show)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8100))
