"""The OpenAPI 3.1 document, made of the table of routes and their schemas."""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from jobqueue.api.description import examples, meanings, texts
from jobqueue.api.http import route_spec
from jobqueue.api.http.json_reply import JSON, reply
from jobqueue.api.http.problems import MEDIA_TYPE
from jobqueue.api.jobs.schemas import RelativeResponse
from jobqueue.api.queues.schemas import ProcessorSchema
from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.api.schemas.responses import ProblemResponse
from jobqueue.api.work.schemas import LineSchema
from jobqueue.api.workflow.schemas import MemberSchema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marshmallow import Schema

    from jobqueue.api.http.route_spec import Route

_WORD: Final = "[A-Za-z0-9_-]+"
_PARTS: Final = (NewJobSchema, MemberSchema, ProcessorSchema, LineSchema)


async def openapi(request: web.Request) -> web.Response:
    """Return this API as an OpenAPI 3.1 document."""
    return reply(request.app[DESCRIPTION].document)


class Description:
    """The OpenAPI document of a table of routes, made when it is first asked for."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = routes

    @cached_property
    def document(self) -> dict[str, Any]:
        """The document."""
        return document(self._routes)


DESCRIPTION: Final = web.AppKey("description", Description)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of some routes."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(
        title="jobqueue",
        version=version("jobqueue"),
        openapi_version="3.1.0",
        info={"description": texts.DESCRIPTION, "contact": {"name": "jobqueue"}},
        servers=[{"url": "/", "description": "this server"}],
        tags=[{"name": name, "description": text} for name, text in texts.TAGS.items()],
        plugins=[plugin],
        security=[{"token": []}],
    )
    if plugin.converter is None:
        raise RuntimeError("apispec has not set up its plugin")
    plugin.converter.add_attribute_function(_described)  # type: ignore[no-untyped-call]  # apispec leaves it untyped
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    spec.components.security_scheme("claim", {"type": "http", "scheme": "claim", "description": texts.CLAIM})
    for schema in (*_PARTS, RelativeResponse, ProblemResponse):
        spec.components.schema(_name(schema), schema=schema)
    by_path: dict[str, dict[str, Any]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    for path, made in by_path.items():
        spec.path(path=path, operations=made, parameters=_path_parameters(path))
    made_document: dict[str, Any] = spec.to_dict()
    meanings.explain(made_document)
    return made_document


def _name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    name = kind.__name__
    if kind not in _PARTS and name.endswith("Schema"):
        return name.removesuffix("Schema") + "Input"
    return name.removesuffix("Schema").removesuffix("Response")


def _described(_converter: Any, field: Any, ret: dict[str, Any], **_options: Any) -> dict[str, Any]:
    """Return the keywords of a field of ours that apispec does not find by itself."""
    if not isinstance(field, fields.Described):
        return {}
    spec = dict(getattr(field, "form", {})) | dict(field.spec)
    if field.allow_none and "anyOf" in spec:
        return spec | {"anyOf": [*spec["anyOf"], json_types.NULL]}
    if field.allow_none and ("oneOf" in spec or "$ref" in spec):
        return {"anyOf": [spec, json_types.NULL]}
    if field.allow_none and "enum" in spec:
        spec["enum"] = [*spec["enum"], None]
    if "type" in spec and "type" in ret:
        # The type that apispec gives includes null.
        del spec["type"]
    return spec


def _operation(route: Route) -> dict[str, Any]:
    lines = (route.handler.__doc__ or "").strip().splitlines()
    made: dict[str, Any] = {
        "operationId": route.operation,
        "summary": lines[0].replace("``", "") if lines else route.path,
        "tags": [route.tag],
        "parameters": [*_parameters(route)],
        "responses": _responses(route),
    }
    if route.role is None:
        made["description"] = "Needs no token."
        made["security"] = []
    else:
        roles = [f"`{role}`" for role in (route.role, route.or_role) if role is not None]
        made["description"] = f"Needs the role {' or '.join(roles)}."
    if route.has_claim:
        made["description"] += " Takes the token of the job's claim in place of an API token."
        made["security"] = [{"token": []}, {"claim": []}]
    if route.body is not None:
        content = {"schema": route.body.schema, "example": route.body.example}
        contents = dict.fromkeys(route.body.media_types, content)
        made["requestBody"] = {"required": not route.body.optional, "content": contents}
    return made


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return [
        {"in": "path", "name": name, "required": True, "schema": texts.PATHS.get(name, {"type": "string"})}
        for name in names
    ]


def _parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is not None:
        yield {"in": "query", "schema": route.query}
        if route.query.prefix:
            yield _open_parameter(route.query.prefix)
    for name in route.headers:
        yield {"in": "header", "name": name, "required": False, "schema": texts.HEADERS[name]}
    if route.has_etag:
        for condition, text in texts.CONDITIONS.items():
            schema = {"type": "string", "pattern": texts.TAG_LIST}
            yield {"in": "header", "name": condition, "required": False, "description": text, "schema": schema}


def _open_parameter(prefix: str) -> dict[str, Any]:
    """Return the parameter for names with a prefix: an object whose members are parameters."""
    schema = {
        "type": "object",
        "propertyNames": {"pattern": f"^{prefix.replace('.', '[.]')}{_WORD}([.]{_WORD}){{0,9}}$"},
        "additionalProperties": {"type": "string"},
    }
    return {
        "in": "query",
        "name": prefix.rstrip("."),
        "description": texts.META,
        "style": "form",
        "explode": True,
        "required": False,
        "schema": schema,
        "example": {f"{prefix}user_id": "42"},
    }


def _responses(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {}
    # A page for people tells them of its own errors as a page.
    pages = [answer.media_type for answer in route.replies.values() if answer.media_type == "text/html"]
    for status, answer in route.replies.items():
        response: dict[str, Any] = {"description": answer.text}
        if answer.schema is not None:
            content = {"schema": answer.schema} | examples.of(route.operation, status)
            response["content"] = {answer.media_type: content}
        elif answer.media_type != JSON:
            response["content"] = {answer.media_type: {"schema": {"type": "string"}}}
        if answer.headers:
            response["headers"] = {name: {"schema": texts.HEADERS[name]} for name in answer.headers}
        if route.has_etag and answer.schema is not None and status < HTTPStatus.ACCEPTED:
            response.setdefault("headers", {})["ETag"] = texts.ETAG
        made[str(status)] = response
    if route.has_etag and route.method == hdrs.METH_GET:
        made["304"] = {"description": texts.UNCHANGED, "headers": {"ETag": texts.ETAG}}
    problem = {MEDIA_TYPE: {"schema": ProblemResponse}} | {page: {"schema": {"type": "string"}} for page in pages}
    for status in route_spec.errors(route):
        made[str(status)] = {"description": texts.TITLES[status], "content": problem}
    return made
