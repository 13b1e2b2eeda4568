"""Bundles: one file with all that is known of a job, without secrets, to run its handler elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import orjson

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.access.credentials import secrets_of_url
from jobqueue.domain.access.redaction import MOST_NAMED, MOST_VALUES, Redactor, check_paths
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.queues import queue_form
from jobqueue.domain.steps.signal import INLINE_VALUE
from jobqueue.domain.work.bundle import FORMAT
from jobqueue.domain.work.logs import LogQuery
from jobqueue.domain.work.processing import WebhookConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.steps.step import Step
    from jobqueue.services.jobs.manage import Family, JobManager
    from jobqueue.services.queues.queues import Queues
    from jobqueue.services.steps.steps import Steps
    from jobqueue.store.access.scope_checks import ScopeChecks
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.jobs.logs import LogStore
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.search.listings import Listing
    from jobqueue.store.workflow.dependencies import DependencyStore

MOST_RESULTS: Final = 16 * 1024 * 1024
"""Bytes of the results of steps in one bundle."""
MOST_LINES: Final = 1_000
MOST_LOG: Final = 1024 * 1024
"""Bytes of log lines."""
MOST_HISTORY: Final = 200
MOST_CHILDREN: Final = 100
MOST_RELATIVES: Final = 4 * 1024 * 1024
"""Bytes of the data and results of the parent and the children together."""
MOST_NAMES: Final = 200
"""Ancestors and descendants that are named."""
_END: Final = 2**31
_HARMLESS: Final = ("accept", "user-agent", "content-", "cache-", "from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundles:
    """Gathers what is known of a job.

    Attributes:
        secrets: of this deployment, which are to stand in no bundle.
    """

    jobs: JobStore
    listing: Listing
    dependencies: DependencyStore
    manager: JobManager
    steps: Steps
    logs: LogStore
    queues: Queues
    clock: ServerClock
    scopes: ScopeChecks
    secrets: tuple[str, ...] = ()

    async def make(self, job_id: str, redact: Sequence[str] = (), *, scope: Scope = EVERYTHING) -> dict[str, Any]:
        """Return the bundle of a job as JSON.

        Args:
            job_id: of the job.
            redact: paths of values to leave out, such as ``data.card``, in the job and in its relatives.
            scope: of the person; relatives outside of it are left out.

        Raises:
            NotFoundError: there is no such job.
            InvalidInputError: a path begins nowhere in a job.
        """
        paths, cut = check_paths(redact), list[str]()
        job = await self.jobs.whole(job_id)
        config, revision = await self.queues.tagged(job.queue)
        results = await self._results(job, cut)
        parts = {
            "job": await self._job(job, scope, cut),
            "results": results,
            "doubts": [step.name for step in job.steps or () if step.once is not None and not step.is_finished],
            "childFailures": _child_failures(job),
            "logs": await self._lines(job, cut),
            **await self._relatives(job, scope, cut),
            "queue": _queue(job, config, revision, scope),
        }
        known = [*self.secrets, *_secrets_of(config), *_tokens_of(job)]
        redactor = Redactor(paths, known)
        # Texts of megabytes take their time, in which other requests go on.
        safe = await asyncio.to_thread(redactor.redact, parts, _HOLDING)
        if redactor.is_full:
            cut.append(f"masks: only {MOST_VALUES:,} of the redacted values are masked at other places too")
        if redactor.unnamed:
            cut.append(f"redacted places: {redactor.unnamed:,} more than the {MOST_NAMED:,} that are named")
        return {
            "bundle": FORMAT,
            "version": _version(),
            "madeAt": json_form.date(await self.clock.now()),
            "fingerprint": None if job.error is None else fingerprint(job.type, job.error),
            **safe,
            "redacted": redactor.places,
            "unused": redactor.unused,
            "cut": cut,
        }

    async def _job(self, job: Job, scope: Scope, cut: list[str]) -> dict[str, Any]:
        """Return a job as JSON, with its dependencies; its log and the results of its steps stand elsewhere."""
        if len(job.history) > MOST_HISTORY:
            cut.append(f"history: the first {len(job.history) - MOST_HISTORY:,} of {len(job.history):,} entries")
        parents = await self.dependencies.parents(job) if job.depends_on else ()
        if not scope.is_everything:
            hidden = set(await self.scopes.missing([parent["id"] for parent in parents], scope))
            parents = tuple({"id": each["id"], "deleted": True} if each["id"] in hidden else each for each in parents)
        cut += [
            f"the result of the dependency {parent['id']}: there is no room for it"
            for parent in parents
            if parent.get("omitted")
        ]
        cut += [
            f"the value of the signal {signal.name}, which no step has taken: it is over {INLINE_VALUE:,} bytes"
            for signal in job.signals or ()
            if signal.stored and signal.taken is None
        ]
        steps = tuple(replace(step, result=None, has_result=False) for step in job.steps or ()) or None
        shown = replace(job, logs=(), history=job.history[-MOST_HISTORY:], parents=parents or None, steps=steps)
        return json_form.without_tokens(json_form.job(shown))

    async def _results(self, job: Job, cut: list[str]) -> dict[str, Any]:
        """Return the results of finished steps, wherever they are kept, as far as there is room."""
        results: dict[str, Any] = {}
        room = MOST_RESULTS
        for step in job.steps or ():
            if not step.is_finished:
                continue
            found = await self._result(job, step, room)
            if found is None:
                cut.append(f"the result of step {step.name}: there is no room for its {step.size:,} bytes")
                continue
            result, size = found
            results[step.name], room = result, room - size
        return results

    async def _result(self, job: Job, step: Step, room: int) -> tuple[Any, int] | None:
        """Return the result of a step and its size; ``None`` if it is larger than the room, or lost."""
        if step.is_paged:
            gathered, size = [], 0
            async for result in self.steps.calls.results(step):
                shown = json_form.value(result)
                size += _size(shown)
                if size > room:
                    return None
                gathered.append(shown)
            return gathered, size
        if step.stored and step.size > room:
            return None
        try:
            shown = json_form.value(await self.steps.loaded(job, step))
        except NotFoundError:
            return None
        size = _size(shown)
        return None if size > room else (shown, size)

    async def _lines(self, job: Job, cut: list[str]) -> list[dict[str, Any]]:
        """Return the last lines of the log."""
        page = await self.logs.page(job.id, LogQuery(before=_END, limit=MOST_LINES))
        lines: list[dict[str, Any]] = []
        room = MOST_LOG
        for number, line in reversed(page.lines):
            form = json_form.log_line(line) | {"number": number + 1}
            room -= _size(form)
            if room < 0:
                break
            lines.append(form)
        if len(lines) < page.count:
            cut.append(f"logs: the first {page.count - len(lines):,} of {page.count:,} lines")
        return lines[::-1]

    async def _relatives(self, job: Job, scope: Scope, cut: list[str]) -> dict[str, Any]:
        """Return the parent and the children with their data and results, and the names of further relatives."""
        family = await self.manager.family(job.id)
        room = MOST_RELATIVES
        parent = await self.listing.parent(job)
        parent_form = None
        if parent is not None and scope.has(parent):
            parent_form, room = _fitted(json_form.job(parent), room, cut)
        forms = []
        children, late = await self.listing.children_of(job, MOST_CHILDREN)
        for child in children:
            if scope.has(child):
                form = json_form.job(child)
                if child.id in late:
                    cut.append(f"the result of child {child.id}: there is no room for it")
                    del form["result"]
                form, room = _fitted(form, room, cut)
                forms.append(form)
        more = len(family.tree.children) - len(children)
        if more > 0 or family.truncated:
            cut.append(f"children: all but the first {len(children):,} are only named")
        named = [relative for relative in _named(family) if scope.has(relative)]
        if len(named) > MOST_NAMES:
            cut.append(f"relatives: {len(named) - MOST_NAMES:,} of {len(named):,} are not named")
        return {"parent": parent_form, "children": forms, "relatives": [_brief(each) for each in named[:MOST_NAMES]]}


_HOLDING: Final[Mapping[str, str]] = {
    **dict.fromkeys(("job", "parent", "children"), ""),
    "results": "steps",
    "logs": "logs",
}
"""The parts of a bundle in which chosen paths hold, with the beginning of the path."""


def _fitted(form: dict[str, Any], room: int, cut: list[str]) -> tuple[dict[str, Any], int]:
    """Return the JSON of a relative with as much of its data and result as there is room for, and the room left."""
    form = json_form.without_tokens({**form, "logs": [], "history": [], "steps": []})
    for name in ("data", "result"):
        if name not in form:
            continue
        size = _size(form[name])
        if size > room:
            cut.append(f"{name} of job {form['id']}: there is no room for its {size:,} bytes")
            del form[name]
        else:
            room -= size
    return form, room


def _named(family: Family) -> list[Job]:
    """Return the ancestors and the descendants of a job."""
    named, waiting = list(family.ancestors), list(family.tree.children)
    while waiting:
        relative = waiting.pop(0)
        named.append(relative.job)
        waiting += relative.children
    return named


def _brief(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": job.type,
        "queue": job.queue,
        "state": job.state.value,
        "parentId": job.parent_id,
        "error": None if job.error is None else json_form.error(replace(job.error, trace=None)),
    }


def _child_failures(job: Job) -> dict[str, Any]:
    """Return the failed children by the name of the step that awaits them."""
    return {
        step.name: step.call.failure.wire()
        for step in job.steps or ()
        if step.call is not None and step.call.failure is not None and not step.is_finished
    }


def _queue(job: Job, config: QueueConfig, revision: str, scope: Scope) -> dict[str, Any]:
    """Return the configuration of a queue with masks; a token that is limited to a value of meta sees the name only."""
    shown = {} if scope.meta else {**queue_form.queue(config), "revision": revision}
    return {"name": job.queue, **shown}


def _secrets_of(config: QueueConfig) -> list[str]:
    """Return what is secret in the configuration of a queue."""
    found: list[str] = []
    for processor in config.processors.values():
        if isinstance(processor, WebhookConfig):
            found += [*processor.secrets, *secrets_of_url(processor.url)]
            for name, value in processor.headers.items():
                if not name.lower().startswith(_HARMLESS):
                    found += [value, *value.split()[1:]]
    return found


def _tokens_of(job: Job) -> list[str]:
    """Return the tokens of all claims of a job."""
    entries = [entry.token for entry in job.history if entry.token]
    return [*entries, job.claim.token] if job.claim is not None and job.claim.token else entries


def _size(value: Any) -> int:
    return len(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))


def _version() -> str:
    try:
        return version("jobqueue")
    except PackageNotFoundError:
        return "unknown"
