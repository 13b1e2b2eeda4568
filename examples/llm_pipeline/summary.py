"""Summarise a document with a language model within a budget. See README.md.

MODEL_URL=http://127.0.0.1:8100 jobqueue worker summary:queue
"""

import os
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout

from jobqueue import ActiveJob, Die, JobQueue, Retry

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
PROMPT_PRICE, ANSWER_PRICE = 1, 4
"""Prices of a token, in millionths of a dollar: all money here is in these."""
MOST_TOKENS = 40
"""Tokens of an answer."""
ROUND = 4
"""Questions at a time: their worst price is set aside before they are asked."""


@dataclass
class Answer:
    text: str
    price: int


@dataclass
class Summary:
    text: str
    spent: int
    left_out: int


@queue.task("document.summarise", queue="documents")
async def summarise(job: ActiveJob, path: str, budget: int) -> Summary:
    sections = await job.step("split", split, path)
    answers: list[Answer] = []
    # The last question is about the answers, so its worst price is known from the beginning.
    last = worst_price("word " * (len(sections) * MOST_TOKENS + 10))
    while len(answers) < len(sections):
        rest = budget - last - sum(answer.price for answer in answers)
        prompts = affordable([f"Summarise: {text}" for text in sections[len(answers) :][:ROUND]], rest)
        if not prompts:
            await job.log(f"the budget ends after {len(answers)} of {len(sections)} sections", "warning")
            break
        items = [{"prompt": prompt} for prompt in prompts]
        # Named by its place: after a crash the round is found again, and nothing is asked twice.
        results = await job.map(f"round {len(answers)}", "llm.ask", items, queue="llm")
        answers += [ask.decode(result) for result in results]
        await job.progress(90 * len(answers) / len(sections))
    if not answers:
        raise Die(f"a budget of {budget} does not pay for one section")
    together = "Summarise all: " + " ".join(answer.text for answer in answers)
    whole = ask.decode(await job.call("whole", "llm.ask", {"prompt": together}, queue="llm"))
    spent = whole.price + sum(answer.price for answer in answers)
    return Summary(whole.text, spent, len(sections) - len(answers))


@queue.task("llm.ask", queue="llm")
async def ask(job: ActiveJob, prompt: str) -> Answer:
    # A step, so that a worker that dies afterwards has not paid for nothing.
    return await job.step("ask", question, prompt)


async def question(prompt: str) -> Answer:
    request = {"prompt": prompt, "max_tokens": MOST_TOKENS}
    async with (
        ClientSession(os.environ["MODEL_URL"], timeout=ClientTimeout(total=60)) as session,
        session.post("/v1/answer", json=request) as reply,
    ):
        if reply.status == 429:
            raise Retry("the model is busy", delay=float(reply.headers.get("Retry-After", "5")))
        if reply.status == 400:
            raise Die(await reply.text())
        reply.raise_for_status()
        body = await reply.json()
    usage = body["usage"]
    price = usage["prompt_tokens"] * PROMPT_PRICE + usage["completion_tokens"] * ANSWER_PRICE
    return Answer(body["text"], price)


def affordable(prompts: list[str], rest: int) -> list[str]:
    """Return the first prompts that the rest of the budget pays for, whatever the answers will be."""
    chosen = []
    for prompt in prompts:
        rest -= worst_price(prompt)
        if rest < 0:
            break
        chosen.append(prompt)
    return chosen


def worst_price(prompt: str) -> int:
    """Return the highest price of an answer: use the tokenizer of your model here."""
    return len(prompt.split()) * PROMPT_PRICE + MOST_TOKENS * ANSWER_PRICE


def split(path: str) -> list[str]:
    """Return the paragraphs of a document."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Die(error) from error
    return [part for part in text.split("\n\n") if part.strip()]
