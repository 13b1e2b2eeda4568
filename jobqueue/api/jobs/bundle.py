"""The bundle of a job over HTTP: one file to run its handler elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, partial
from jobqueue.api.schemas.queries import Query, Several
from jobqueue.api.schemas.responses import JobResponse, LogLineResponse
from jobqueue.api.security.caller import caller
from jobqueue.domain.access.credentials import secrets_of_url
from jobqueue.services.bundles import Bundles

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

_PATH: Final = r"[^,]{1,200}"


class PathsText(Several):
    """Paths of values in a job, such as ``data.card``, with commas between them."""

    def __init__(self, **options: Any) -> None:
        spec = {"type": "string", "pattern": f"^{_PATH}(,{_PATH})*$"}
        super().__init__(load_default=list, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        return str(value).split(",")


class BundleQuery(Query):
    """The values that a bundle leaves out."""

    redact = PathsText()


class BundleLineResponse(LogLineResponse):
    """A line of a log, with its number."""

    number = fields.Whole()


class NamedRelativeResponse(Response):
    """An ancestor or a descendant of a job."""

    id = fields.Text(spec=json_types.ID)
    type = fields.Text()
    queue = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    parent_id = fields.Text(allow_none=True)
    error = fields.Object(allow_none=True)


class RedactedResponse(Response):
    """A place at which a bundle has no value, or a mask in a text."""

    path = fields.Text()
    why = fields.Text()


class BundleResponse(Response):
    """A job with all that is known of it, without secrets and in bounded size."""

    bundle = fields.Whole(spec={"description": "the version of this form"})
    version = fields.Text(spec={"description": "of the program that has made it"})
    made_at = fields.Moment()
    fingerprint = fields.Text(allow_none=True, spec={"description": "of the error of the job"})
    job = fields.Inner(JobResponse)
    results = fields.Object(spec={"description": "of finished steps, by name, wherever they are kept"})
    doubts = fields.Items(
        fields.Text(),
        spec={"description": "steps that must not run twice, of which nobody knows whether they happened"},
    )
    child_failures = fields.Object(spec={"description": "failed children, by the name of the step that awaits them"})
    logs = fields.Items(fields.Inner(BundleLineResponse), spec={"description": "the last lines"})
    parent = fields.Inner(partial(JobResponse, needed=frozenset({"id"})), allow_none=True)
    children = fields.Items(fields.Inner(partial(JobResponse, needed=frozenset({"id"}))))
    relatives = fields.Items(fields.Inner(NamedRelativeResponse))
    queue = fields.Object(spec={"description": "its name, its configuration with masks, and its `revision`"})
    redacted = fields.Items(fields.Inner(RedactedResponse))
    unused = fields.Items(fields.Text(), spec={"description": "paths of `redact` at which there was nothing"})
    cut = fields.Items(fields.Text(), spec={"description": "what is left out for its size"})


async def bundle(request: web.Request) -> web.Response:
    """Return a job with its steps, log, relatives and queue as one file, without secrets and chosen values."""
    job_id, scope = path_id(request), caller(request).scope
    made = await _bundles(request.app[RUNTIME]).make(job_id, request[QUERY]["redact"], scope=scope)
    return reply(made, headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="job-{job_id}.json"'})


def _bundles(runtime: Runtime) -> Bundles:
    settings = runtime.settings
    return Bundles(
        jobs=runtime.jobs,
        listing=runtime.listing,
        dependencies=runtime.dependencies,
        manager=runtime.manager,
        steps=runtime.work.steps,
        logs=runtime.logs.store,
        queues=runtime.queues,
        clock=runtime.database.clock,
        scopes=runtime.scope_checks,
        secrets=(settings.admin_token or "", *secrets_of_url(settings.mongo_url or "", named=True)),
    )
