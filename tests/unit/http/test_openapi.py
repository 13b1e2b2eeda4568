"""The OpenAPI document says all that the table of routes says, and its examples are right."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from jobqueue.api.app import make_app
from jobqueue.api.description.openapi import document
from jobqueue.api.http import route_spec
from jobqueue.api.route_table import ROUTES
from jobqueue.settings import Settings
from tests.support.mongo.mocked import mocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.api.http.route_spec import Route

DOCUMENT = document(ROUTES)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def content_of(route: Route) -> dict[str, Any]:
    """Return the description of the body of a route."""
    contents = DOCUMENT["paths"][route.path][route.method.lower()]["requestBody"]["content"]
    content: dict[str, Any] = contents[route.body.media_types[0]] if route.body else {}
    return content


def answer_of(route: Route, status: int) -> dict[str, Any]:
    """Return the description of the JSON that a route answers with."""
    answer = DOCUMENT["paths"][route.path][route.method.lower()]["responses"][str(status)]
    content: dict[str, Any] = answer.get("content", {}).get("application/json", {})
    return content


def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"] == "3.1.0"


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_every_route_is_documented_with_what_it_answers(route: Route) -> None:
    made: dict[str, Any] = DOCUMENT["paths"][route.path][route.method.lower()]
    assert made["summary"].endswith(".")
    assert any(int(status) < 300 for status in made["responses"])
    for status, one in route.replies.items():
        assert one.schema is not None or one.text or status == 204
    shown = [answer_of(route, status) for status, one in route.replies.items() if one.schema is not None]
    assert not shown or any("example" in answer for answer in shown) or route.operation == "getOpenApi"
    wanted = route_spec.errors(route)
    assert {str(status) for status in wanted} <= made["responses"].keys()
    assert {500, 503} <= set(wanted)
    assert route.body is None or content_of(route)["example"] is not None


def test_each_operation_has_a_name_of_its_own_a_verb_and_a_noun() -> None:
    names = [
        made["operationId"] for path in DOCUMENT["paths"].values() for made in path.values() if "operationId" in made
    ]
    assert len({name.lower() for name in names}) == len(names) == len(ROUTES)
    assert {"createJob", "listJobs", "claimJob", "succeedJob", "explainJob"} <= set(names)
    assert {name for name in names if not re.fullmatch("[a-z]+([A-Z][a-z]+)+", name)} == set()


def test_the_document_has_what_linters_ask_for() -> None:
    tags = [tag["name"] for tag in DOCUMENT["tags"]]
    assert tags[-1] == "system"
    assert all(tag["description"].endswith(".") for tag in DOCUMENT["tags"])
    assert set(tags) == {route.tag for route in ROUTES}
    assert DOCUMENT["info"]["contact"]
    assert DOCUMENT["servers"]
    for route in ROUTES:
        made = DOCUMENT["paths"][route.path][route.method.lower()]
        assert made["description"].endswith(".")
        assert any(status.startswith("4") for status in made["responses"])
    for keywords in objects(DOCUMENT["components"]):
        assert len(keywords.get("enum", ())) == len({json.dumps(value) for value in keywords.get("enum", ())})
        if isinstance(keywords.get("required"), list) and isinstance(keywords.get("type"), str):
            assert set(keywords["required"]) <= set(keywords["properties"])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Return all objects in a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def test_filters_by_meta_are_members_of_one_parameter_with_an_example() -> None:
    parameters = {made["name"]: made for made in DOCUMENT["paths"]["/v1/jobs"]["get"]["parameters"]}
    meta = parameters["meta"]
    assert (meta["in"], meta["style"], meta["explode"]) == ("query", "form", True)
    assert "meta.user_id=42" in meta["description"]
    Draft202012Validator(meta["schema"]).validate(meta["example"])
    Draft202012Validator(meta["schema"]).validate({"meta.order.kind": "gift"})


ANSWERS = [(route, status) for route in ROUTES for status in route.replies if "example" in answer_of(route, status)]


@pytest.mark.parametrize(("route", "status"), ANSWERS, ids=lambda value: getattr(value, "operation", value))
def test_an_example_of_an_answer_is_as_its_schema_says(route: Route, status: int) -> None:
    content = answer_of(route, status)
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(content["example"])


@pytest.mark.parametrize("route", [one for one in ROUTES if one.body], ids=named)
def test_an_example_is_as_its_schema_says(route: Route) -> None:
    content = content_of(route)
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(content["example"])


async def test_the_page_of_the_api_needs_nothing_from_elsewhere() -> None:
    async with TestClient(TestServer(make_app(mocked(Settings(admin_token="a-token-of-some-length"))))) as client:  # noqa: S106 - a test's own
        page = await client.get("/docs")
        text = await page.text()
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert "style=" not in text
        for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', text):
            answer = await client.get(f"/{name}")
            assert (answer.status, (await answer.read())[:1] != b"") == (200, True)
        shown = await (await client.get("/openapi.json")).json()
        assert shown == json.loads(json.dumps(DOCUMENT))
        assert (await client.get("/docs/../pyproject.toml")).status == 404
        assert (await client.get("/docs/nothing")).status == 404


def test_a_group_that_is_requeued_is_answered_with_a_trial_or_a_preview() -> None:
    answers = DOCUMENT["paths"]["/v1/failures/{fingerprint}/requeue"]["post"]["responses"]
    reference = answers["200"]["content"]["application/json"]["schema"]["$ref"]
    schema = DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]
    assert {"job", "matched", "isExact", "samples"} <= set(schema["properties"])
    assert not schema.get("required")
