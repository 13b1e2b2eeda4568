"""The reference in the manual has a place for everything that the program has."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import click
import pytest

from docs.extension import PARTS, filled, http_pages, schema_pages
from jobqueue.api.description import meanings
from jobqueue.api.description.openapi import document
from jobqueue.api.route_table import ROUTES
from jobqueue.cli.main import cli
from jobqueue.domain.attempts.states import LEGAL, Outcome
from jobqueue.domain.insight.event import KINDS
from jobqueue.services.insight.metrics import Metrics
from tests.support.docs.readme import ROOT, names, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.api.http.route_spec import Route

REFERENCE = ROOT / "docs" / "reference"
TAGS = sorted({route.tag for route in ROUTES})
OPENAPI = document(ROUTES)


@cache
def page(name: str) -> str:
    return filled((REFERENCE / f"{name}.md").read_text(encoding="utf-8"))


def section(route: Route) -> str:
    """Return the part of the reference about a route."""
    _, _, rest = page(f"http/{route.tag}").partition(f"\n({http_pages.anchor(route)})=\n")
    return rest.partition("\n(")[0]


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each field and each parameter of the HTTP API, with its place."""
    for name, schema in OPENAPI["components"]["schemas"].items():
        for field, spec in schema.get("properties", {}).items():
            yield f"{name}.{field}", spec
    for path, operations in OPENAPI["paths"].items():
        for method, operation in operations.items():
            for parameter in operation if method == "parameters" else operation.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter


def test_every_page_is_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in REFERENCE.rglob("*.md")}
    assert pages - set(index.splitlines()) == set()
    marks = [
        mark
        for one in pages
        for mark in re.findall(r"<!-- generated: (.*) -->", (ROOT / "docs" / f"{one}.md").read_text())
    ]
    assert sorted(marks) == sorted(["commands", "schemas", *(f"http {tag}" for tag in TAGS)])
    assert {mark.partition(" ")[0] for mark in marks} == PARTS.keys()


@pytest.mark.parametrize("tag", TAGS)
def test_every_route_has_its_parameters_its_body_an_example_and_its_problems(tag: str) -> None:
    for route in (one for one in ROUTES if one.tag == tag):
        text = section(route)
        assert text.startswith(f"## `{route.method} {route.path}`\n"), route.path
        made = OPENAPI["paths"][route.path][route.method.lower()]
        cells = {name for line in text.splitlines() if line.startswith("| ") for name in names(line.split(" | ")[0])}
        for parameter in (*made["parameters"], *OPENAPI["paths"][route.path].get("parameters", ())):
            assert parameter["name"] in {cell.removesuffix(".<path>") for cell in cells}, (
                route.path,
                parameter["name"],
            )
        if body := made.get("requestBody"):
            schema = next(iter(body["content"].values()))["schema"]["$ref"].rpartition("/")[2]
            assert f"#{schema_pages.anchor(schema)}" in text
            assert OPENAPI["components"]["schemas"][schema]["properties"].keys() <= cells, route.path
        path = re.search(r"^\$ curl .*localhost:8080(/\S*?)[?' \n]", text + "\n", re.MULTILINE)
        assert path is not None
        assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path[1]), path[1]
        for status, reply in made["responses"].items():
            if int(status) >= 400:
                kinds = http_pages.problems(route.operation, int(status))
                assert f"**{status}** " in text
                assert kinds == re.findall(r"\[([a-z-]+)\]", text.partition(f"**{status}** ")[2].partition(" · ")[0])
                assert kinds or status == "410", (route.path, status)
            else:
                assert f"| {status} | {reply['description']}" in text
                with_example = any("example" in content for content in reply.get("content", {}).values())
                assert not with_example or "```json\n" in text


def test_the_body_of_each_example_is_the_one_of_the_openapi_document() -> None:
    assert '--json \'{"type": "thumbnail", "queue": "media"' in section(
        next(one for one in ROUTES if one.operation == "createJob")
    )


def test_every_field_and_parameter_has_a_meaning() -> None:
    assert [place for place, spec in described() if not spec.get("description")] == []


def test_no_meaning_is_headless_or_of_nothing() -> None:
    kept = meanings._read()
    texts = [
        text
        for part in kept.values()
        for own in part.values()
        for text in (own.values() if isinstance(own, dict) else [own])
    ]
    openings = re.compile(r"(What|Who|Whoever|Whether|Let|Do)\b", re.IGNORECASE)
    assert [text for text in texts if openings.match(text) or text.endswith(".")] == []
    schemas = {
        name.removeprefix("Partial"): one["properties"] for name, one in OPENAPI["components"]["schemas"].items()
    }
    assert {name for name, own in kept["schemas"].items() if own.keys() - schemas.get(name, {}).keys()} == set()
    assert kept["fields"].keys() - {field for one in schemas.values() for field in one} == set()


def test_every_schema_is_shown_and_every_link_leads_to_one() -> None:
    text = page("http/schemas")
    anchors = set(re.findall(r"^\((schema-\w+)\)=$", text, re.MULTILINE))
    shown = {schema_pages.anchor(name.removeprefix("Partial")) for name in OPENAPI["components"]["schemas"]}
    assert anchors == shown
    for tag in TAGS:
        text += page(f"http/{tag}")
    assert set(re.findall(r"\(#(schema-\w+)\)", text)) <= anchors


def test_every_command_has_its_options() -> None:
    text = page("commands")

    def check(command: click.Command, above: click.Context) -> int:
        context = click.Context(command, info_name=command.name, parent=above)
        path = context.command_path.removeprefix("jobqueue ")
        _, found, rest = text.partition(f"\n#{'#' * (path.count(' ') + 1)} `{path}`\n")
        assert found, path
        shown = names(" ".join(re.findall(r"^\| (`.*?`) \|", rest.partition("\n(command-")[0], re.MULTILINE)))
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden and "--help" not in option.opts:
                assert any(option.opts[-1] in one for one in shown), (path, option.opts)
        below = command.commands.values() if isinstance(command, click.Group) else ()
        return 1 + sum(check(one, context) for one in below)

    top = click.Context(cli, info_name="jobqueue")
    commands = [command for name in cli.list_commands(top) if (command := cli.get_command(top, name)) is not None]
    assert sum(check(command, top) for command in commands) == text.count("\n(command-") > 60


def test_every_collection_has_its_fields() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "jobqueue" / "store").rglob("*.py"))
    collections = set(re.findall(r"\.collection\(\"(\w+)\"\)", code)) | {"aside"}
    text = page("documents")
    assert set(re.findall(r"^<!-- documents (\w+) -->$", text, re.MULTILINE)) == collections
    assert all(
        len(row) == 3 and names(row[0]) for name in collections - {"aside"} for row in table(f"documents {name}")
    )


def test_every_transition_and_outcome_is_there() -> None:
    rows = table("transitions")
    changes = {change for _, before, after, *_ in rows for change in product(names(before), names(after))}
    assert changes == {(state.value, other.value) for state, others in LEGAL.items() for other in others} | {
        ("delayed", "pending")
    }
    assert {name for row in rows for name in names(row[3])} == {outcome.value for outcome in Outcome}


def test_every_event_is_there() -> None:
    assert sorted(names(row[0])[0] for row in table("events")) == sorted([*KINDS, "gap"])


def test_every_metric_is_there_with_its_labels() -> None:
    metrics = Metrics(None, None)  # type: ignore[arg-type]  # nothing is counted
    known = {}
    for collector in list(metrics.registry._collector_to_names):
        for family in collector.collect() if not hasattr(collector, "describe") else collector.describe():
            total = "_total" if family.type == "counter" else "_info" if family.type == "info" else ""
            labels = set(getattr(collector, "_labelnames", ())) | ({"version"} if family.type == "info" else set())
            known[f"{family.name}{total}"] = (family.type, labels)
    assert known
    assert {names(name)[0]: (kind, set(names(labels))) for name, kind, labels, *_ in table("metrics")} == known
