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
from tests.support.mocked import mocked

if TYPE_CHECKING:
    from jobqueue.api.http.route_spec import Route

DOCUMENT = document(ROUTES)


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def content_of(route: Route) -> dict[str, Any]:
    """Return the description of the body of a route."""
    contents = DOCUMENT["paths"][route.path][route.method.lower()]["requestBody"]["content"]
    content: dict[str, Any] = contents[route.body.media_types[0]] if route.body else {}
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
    wanted = route_spec.errors(route)
    assert {str(status) for status in wanted} <= made["responses"].keys()
    assert {500, 503} <= set(wanted)
    assert route.body is None or content_of(route)["example"] is not None


def test_no_operation_has_the_name_of_another() -> None:
    names = [
        made["operationId"] for path in DOCUMENT["paths"].values() for made in path.values() if "operationId" in made
    ]
    assert len(names) == len(set(names)) == len(ROUTES)


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
