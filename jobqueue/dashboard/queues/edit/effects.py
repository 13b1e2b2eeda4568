"""The effects of a change of a queue, in words."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import coarse, count, shorten, span
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import BusyError, ForbiddenError, TooCostlyError
from jobqueue.domain.limits.limits import USUAL_RETRIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobqueue.dashboard.frame.view import View

_LIMITS: Final = ("concurrency", "rate", "limitBy")
_DEFAULTS: Final = {
    "attempts": "attempts",
    "backoff": "backoff",
    "lease": "lease",
    "timeout": "timeout",
    "startBefore": "start before",
    "priority": "priority",
    "onSuccessDelete": "deletion",
}
_MOST_GROUPS: Final = "100"
_MOST_COUNTED: Final = 10_000
_ENDED: Final = {"success": "succeeded", "failed": "failed", "killed": "were killed"}


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect; ``state`` gives its shape and colour."""

    state: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """The work of a queue.

    Attributes:
        groups: by value of ``limitBy``; ``None`` if nobody knows the values of a new path.
        run: seconds that a job takes, if some have ended lately.
    """

    pending: int
    running: int
    groups: Sequence[Mapping[str, Any]] | None
    run: float | None


async def effects(view: View, queue: Mapping[str, Any], after: Mapping[str, Any]) -> list[Effect]:
    """Return the effects of a change.

    Args:
        view: of the page.
        queue: as it is now, with its figures.
        after: its configuration as it would be.
    """
    changed = {name for name in after if name in queue and after[name] != queue[name]}
    load = await _load(view, queue, after)
    found = [*_pause(changed, after, load), *_limits(changed, queue, after, load), *_defaults(changed, load)]
    found += [*_breaker(changed, queue, after), *_processors(queue, after)]
    if "retention" in changed:
        found += await _retention(view, queue, after)
    return [*found, Effect("processing", "Every process follows within a second.")] if changed else found


async def _load(view: View, queue: Mapping[str, Any], after: Mapping[str, Any]) -> _Load:
    path, counts = f"/v1/queues/{quoted(queue['name'])}", queue["counts"]
    stats, groups = await asyncio.gather(
        view.ask("/v1/stats", {"window": "24h", "queue": queue["name"]}),
        view.ask(f"{path}/groups", {"limit": _MOST_GROUPS}),
    )
    same = after["limitBy"] is None or after["limitBy"] == groups["limitBy"]
    return _Load(
        pending=counts["pending"],
        running=counts["processing"],
        groups=None if not same else groups["items"] if after["limitBy"] else (),
        run=stats["windows"]["24h"]["run"]["p50"],
    )


def _pause(changed: set[str], after: Mapping[str, Any], load: _Load) -> Iterator[Effect]:
    if "paused" in changed and after["paused"]:
        goes_on = f" {count(load.running, 'job')} that run now go on to their end." if load.running else ""
        yield Effect("delayed", f"Nothing starts any more until the queue is resumed.{goes_on}")
    elif "paused" in changed:
        yield Effect("pending", f"{count(load.pending, 'job')} that wait may start again.")


def _limits(changed: set[str], queue: Mapping[str, Any], after: Mapping[str, Any], load: _Load) -> Iterator[Effect]:
    if not changed.intersection(_LIMITS):
        return
    if "limitBy" in changed:
        yield Effect("pending", _grouping(after))
    each = " for each value" if after["limitBy"] and after["limitBy"] == queue["limitBy"] else ""
    yield from _drain(queue, after, load, each)
    yield from _above(after, load)
    if after["rate"] is None and queue["rate"] is not None:
        yield Effect("pending", "Starts are not limited by a rate any more.")
    if after["concurrency"] is None and queue["concurrency"] is not None:
        yield Effect("pending", "Any number of jobs may run at a time.")


def _grouping(after: Mapping[str, Any]) -> str:
    if after["limitBy"] is None:
        return "The limits hold for the whole queue together, no more for each value."
    if after["concurrency"] is None and after["rate"] is None:
        return f"There is no limit yet that could hold for each value of {shorten(after['limitBy'], 80)}."
    return f"The limits hold for each value of {shorten(after['limitBy'], 80)}; jobs without it are a group too."


def _drain(queue: Mapping[str, Any], after: Mapping[str, Any], load: _Load, each: str) -> Iterator[Effect]:
    """Yield how long the jobs that wait take to start, then and now."""
    if not load.pending:
        yield Effect("pending", "No job waits now, so nothing is held back yet.")
        return
    waits = f"{count(load.pending, 'job')} {'waits' if load.pending == 1 else 'wait'}"
    then, now = _seconds(after, load), _seconds(queue, load)
    if after["paused"]:
        yield Effect("pending", f"{waits}, until the queue is resumed.")
    elif load.groups is None:
        yield Effect("pending", f"{waits}. Nobody has counted yet how many of them have which value.")
    elif then is None:
        yield Effect("pending", f"{waits}. {_unknown(after)}")
    else:
        known = now is not None and queue["limitBy"] == after["limitBy"]
        compared = f"; now {_about(now)}" if known and now is not None and _about(now) != _about(then) else ""
        yield Effect("pending", f"{waits}. With these limits{each} the last one starts {_about(then)}{compared}.")


def _unknown(after: Mapping[str, Any]) -> str:
    if after["concurrency"] is None and after["rate"] is None:
        return "They start as soon as somebody takes them."
    return "How fast they start depends on how long each runs; none has ended within a day."


def _seconds(config: Mapping[str, Any], load: _Load) -> float | None:
    """Return an estimate of the seconds until the last job that waits now has started; ``None`` without limits."""
    waiting = max((group["waiting"] for group in load.groups), default=0) if load.groups else load.pending
    rate, most = config["rate"], config["concurrency"]
    by_rate = None if rate is None else max(0, math.ceil(waiting / rate["limit"]) - 1) * rate["per"]
    by_slots = None if most is None or load.run is None else math.ceil(waiting / most) * load.run
    known = [found for found in (by_rate, by_slots) if found is not None]
    return max(known) if known else None


def _about(seconds: float) -> str:
    return f"in about {span(seconds)}" if seconds >= 1 else "at once"


def _above(after: Mapping[str, Any], load: _Load) -> Iterator[Effect]:
    """Yield who runs above the new limit."""
    most = after["concurrency"]
    if most is None:
        return
    if after["limitBy"] is None:
        above = load.running - most
        if above > 0:
            jobs, verb = count(above, "job"), "runs" if above == 1 else "run"
            text = f"{jobs} {verb} above the new limit: they finish, and none starts until fewer than {most:,} run."
            yield Effect("delayed", text)
        return
    over = [group for group in load.groups or () if group["running"] > most]
    for group in over[:3]:
        value = shorten(group["value"], 60)
        yield Effect("delayed", f"{value} runs {count(group['running'], 'job')}, above the new limit: they finish.")
    if len(over) > len(over[:3]):
        yield Effect("delayed", f"{len(over) - 3} further values are above the new limit.")


def _defaults(changed: set[str], load: _Load) -> Iterator[Effect]:
    names = [text for name, text in _DEFAULTS.items() if name in changed]
    if names:
        told = ", ".join(names[:-1]) + (" and " if names[:-1] else "") + names[-1]
        keep = f"; {count(load.pending + load.running, 'job')} that wait or run keep theirs"
        text = f"Only jobs that are added from now on get this {told}"
        yield Effect("pending", f"{text}{keep if load.pending + load.running else ''}.")
    if "maxRetries" in changed:
        yield Effect(
            "pending", f"A job fails as endless by this number of retries; the usual one is {USUAL_RETRIES:,}."
        )
    if "check" in changed:
        yield Effect("pending", "The check of data concerns only jobs that are added from now on.")


def _breaker(changed: set[str], queue: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Effect]:
    if "breaker" not in changed:
        return
    breaker, is_open = after["breaker"], any(each["state"] != "closed" for each in queue["breakers"])
    if breaker is None:
        freed = " The one that is open holds back nothing any more." if is_open else ""
        yield Effect("failed", f"Failures in a row stop nothing any more.{freed}")
        return
    what = "nothing of the queue" if breaker["per"] == "queue" else "nothing of that type"
    failures, pause = count(breaker["failures"], "failed attempt"), span(breaker["cooldown"])
    yield Effect("pending", f"After {failures} in a row {what} starts for {pause}; then one job is on trial.")


def _processors(queue: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Effect]:
    before, then = queue["processors"], after["processors"]
    for kind in dict.fromkeys([*before, *then]):
        name = "all other types" if kind == "*" else f"type {shorten(kind, 60)}"
        old, new = before.get(kind), then.get(kind)
        if old == new:
            continue
        if new is None:
            yield Effect("delayed", f"Jobs of {name} wait for a worker or for a program that polls.")
        elif new["kind"] == "command":
            yield Effect("pending", f"Jobs of {name} run the command {shorten(new['name'], 100)} of the server.")
        else:
            yield Effect("pending", f"Jobs of {name} are sent to {shorten(new['url'], 120)}.")
            if old is None or old["kind"] != "webhook":
                yield Effect(
                    "delayed", "Its receiver needs the secret. A secret that is made is shown once, after this."
                )


async def _retention(view: View, queue: Mapping[str, Any], after: Mapping[str, Any]) -> list[Effect]:
    before, then = queue["retention"] or {}, after["retention"] or {}
    states = [state for state in _ENDED if before.get(state) != then.get(state)]
    return [await _kept(view, queue["name"], state, then.get(state)) for state in states]


async def _kept(view: View, queue: str, state: str, seconds: float | None) -> Effect:
    ended = _ENDED[state]
    if seconds is None:
        return Effect("pending", f"Jobs that {ended} are kept for ever.")
    until = (view.now - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    wanted = {"queue": queue, "state": state, "endAt": {"$lt": {"$date": until}}}
    try:
        found = await view.ask("/v1/jobs/count", body={"filter": wanted, "most": _MOST_COUNTED})
    except (TooCostlyError, BusyError, ForbiddenError):
        return Effect("failed", f"Jobs that {ended} more than {coarse(seconds)} ago are deleted.")
    more = " or more" if found["truncated"] else ""
    if not found["count"]:
        return Effect("pending", f"Jobs that {ended} are deleted after {span(seconds)}; none is that old yet.")
    jobs = f"{found['count']:,}{more} {'job' if found['count'] == 1 else 'jobs'}"
    return Effect("failed", f"{jobs} that {ended} more than {span(seconds)} ago will be deleted soon, for good.")
