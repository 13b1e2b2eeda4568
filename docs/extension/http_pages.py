"""The routes of a section of the HTTP API, from its OpenAPI document."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from docs.extension.markdown import block, code, pretty, table
from docs.extension.schema_pages import described, link, type_of
from jobqueue.api.description.openapi import document
from jobqueue.api.route_table import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.api.http.route_spec import Route

_FIRST_ERROR: Final = 400
_ANSWERED: Final = 300
_SAMPLES: Final = {
    "id": "6b06105097b133d05ea55fc5",
    "parent": "6b06105097b133d05ea55fc4",
    "fingerprint": "9740ff5f058a601f",
    "queue": "media",
    "key": "order-7",
    "step": "fetch",
    "token": "au25ala9",
    "link": "LINK",
    "file": "docs.js",
}
_NAMES: Final = {"schedules": "report", "alerts": "ops", "signals": "approved", "workers": "render-1%3A4242%3A9f8e7d"}
_QUERIES: Final = {
    "aggregate": "",
    "compareFailure": "queue=media",
    "deleteQueue": "force=true",
    "getJob": "wait=30",
    "getStats": "queue=media&window=1h",
    "getStatsSeries": "step=1d",
    "listChanges": "kind=schedule",
    "listFailures": "queue=media",
    "listJobLogs": "limit=100",
    "listJobs": "state=failed&meta.user_id=42",
    "streamEvents": "queue=media&state=failed,killed",
    "suggestValues": "field=meta.user_id&prefix=4",
}
_PROBLEMS: Final = Path(__file__).parents[1] / "problems" / "index.md"
_LINE: Final = re.compile(r"^\| \[([a-z-]+)\]\([a-z-]+\.md\) \| (\d+)", re.MULTILINE)
_SOME_ROUTES: Final[Mapping[str, re.Pattern[str]]] = {
    "child-failed": re.compile("recordStep|suspendJob|createChildJobs"),
    "foreign-page": re.compile("submitAnswer"),
    "in-flight": re.compile("createJob|createJobs|createBatch|addBatchJobs|sendSignal|sendSignalByKey"),
    "key-conflict": re.compile("(create|requeue|add|update|run|succeed|fail|die).*"),
    "older-workers": re.compile("recordStep|suspendJob|createChildJobs|requeueJobs?|requeueFailure|sendSignal.*"),
    "one-at-a-time": re.compile("listJobs|searchJobs|countJobs|aggregateJobs"),
    "stale-token": re.compile(
        "(heartbeat|succeed|fail|die|retry|suspend)Job|recordStep|createChildJobs|getJobParent|addBatchJobs"
    ),
    "too-costly": re.compile("(list|search|count|aggregate|requeue|kill|delete|erase)Jobs"),
    "too-slow": re.compile("(list|search|count|aggregate)Jobs|listFailures|compareFailure|suggestValues"),
    "too-many-waiting": re.compile("getJob|listJobLogs|claimJob"),
    "busy": re.compile("(list|search|count|aggregate)Jobs|listFailures|compareFailure|suggestValues|getStats.*"),
    "too-many-readers": re.compile("streamEvents"),
    "unfinished-jobs": re.compile("deleteQueue"),
}
"""Operations that a problem concerns; any other problem can come wherever its status can."""


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return document(ROUTES)


def routes(tag: str) -> str:
    """Return the routes of a section."""
    mine = [route for route in ROUTES if route.tag == tag]
    overview = table(
        ["route", ""], ([f"[`{_title(one)}`](#{anchor(one)})", _operation(one)["summary"]] for one in mine)
    )
    return "\n\n".join([overview, *("\n\n".join(_parts(route)) for route in mine)])


def anchor(route: Route) -> str:
    """Return the anchor of a route."""
    return re.sub("([A-Z])", lambda letter: "-" + letter[1].lower(), route.operation)


def problems(operation: str, status: int) -> list[str]:
    """Return the types of problems of a status that an operation may answer with."""
    return [
        slug
        for slug, code_ in _LINE.findall(_PROBLEMS.read_text(encoding="utf-8"))
        if int(code_) == status and (slug not in _SOME_ROUTES or _SOME_ROUTES[slug].fullmatch(operation))
    ]


def _title(route: Route) -> str:
    return f"{route.method} {route.path}"


def _operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = openapi()["paths"][route.path][route.method.lower()]
    return made


def _parts(route: Route) -> Iterator[str]:
    made = _operation(route)
    yield f"({anchor(route)})=\n## {code(_title(route))}"
    yield f"{made['summary']} {made['description']} In generated clients: `{route.operation}`."
    path = openapi()["paths"][route.path].get("parameters", [])
    if parameters := [*path, *made["parameters"]]:
        yield table(["parameter", "in", "type", "meaning"], (_parameter(one) for one in parameters))
    if body := made.get("requestBody"):
        content = next(iter(body["content"].values()))
        optional = "" if body["required"] else ", which may be left out"
        yield f"The body is {link(content['schema'])}{optional}:"
        yield described(content["schema"])
    yield block("console", _curl(route, made))
    yield from _replies(made)


def _parameter(one: Mapping[str, Any]) -> list[str]:
    name = f"{one['name']}.<path>" if one["schema"].get("propertyNames") else one["name"]
    return [code(name), one["in"], type_of(one["schema"]), one.get("description", "")]


def _replies(made: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    errors: list[str] = []
    examples: list[str] = []
    for status, reply in sorted(made["responses"].items()):
        if int(status) >= _FIRST_ERROR:
            errors.append(f"**{status}** {_kinds(made['operationId'], int(status)) or reply['description']}")
            continue
        content = next(iter(reply.get("content", {}).values()), {})
        media = next(iter(reply.get("content", {})), "")
        shown = link(content["schema"]) if "$ref" in content.get("schema", {}) else media and code(media)
        rows.append([status, f"{reply['description']}: {shown}" if shown else reply["description"]])
        if "example" in content and int(status) < _ANSWERED and not examples:
            examples.append(pretty(content["example"]))
    if examples:
        yield block("json", examples[0])
    yield table(["status", ""], rows)
    yield f"Problems: {' · '.join(errors)}."


def _kinds(operation: str, status: int) -> str:
    """Return links to the problems of a status."""
    return ", ".join(f"[{slug}](../../problems/{slug}.md)" for slug in problems(operation, status))


def _curl(route: Route, made: Mapping[str, Any]) -> str:
    path = re.sub(r"([a-z]+)/\{(\w+)\}", lambda part: f"{part[1]}/{_sample(part[1], part[2])}", route.path)
    query = f"?{_QUERIES[route.operation]}" if _QUERIES.get(route.operation) else ""
    url = f"localhost:8080{path}{query}"
    words = ["curl", "-N" if route.operation == "streamEvents" else "-s"]
    if route.method != "GET":
        words += ["-X", route.method]
    words.append(shlex.quote(url) if query else url)
    if route.role is not None:
        words += ["-H", '"Authorization: Bearer $JOBQUEUE_API_TOKEN"']
    if body := made.get("requestBody"):
        media, content = next(iter(body["content"].items()))
        if media == "application/x-www-form-urlencoded":
            words += ["-d", shlex.quote("&".join(f"{name}={value}" for name, value in content["example"].items()))]
        else:
            words += ["--json", shlex.quote(json.dumps(content["example"], ensure_ascii=False))]
    return "$ " + " ".join(words)


def _sample(before: str, name: str) -> str:
    return _NAMES.get(before, "") if name == "name" else _SAMPLES[name]
