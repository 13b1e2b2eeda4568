"""Alarms and the dashboard of Grafana in `deploy/` ask for what `GET /metrics` has."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml
from prometheus_client import parser as untyped

from tests.support.data.factories import add, claimed_job, succeed
from tests.support.docs.readme import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.services.application import Runtime

prometheus: Any = untyped
RULES = yaml.safe_load((ROOT / "deploy/prometheus/jobqueue.rules.yaml").read_text())["groups"][0]["rules"]
BOARD = json.loads((ROOT / "deploy/grafana/jobqueue.json").read_text())
OF_SCRAPES: Final = {"instance", "job"}
"""Labels that Prometheus adds."""
FUNCTIONS = "absent|delta|histogram_quantile|increase|max|min|rate|sum|count|label_values"
WORDS = {"by", "on", "and", "or", "unless", "offset"}
PATTERN = re.compile(
    r"""(?P<text>"[^"]*")|(?P<range>\[[^\]]*\])|(?P<number>\d+(?:\.\d+)?[smhd]?)|(?P<name>[a-zA-Z_:]\w*)"""
    r"""|(?P<sign>[(){},*/+-]|=~|!=|!~|[<>=]=?)|(?P<space>\s+)|(?P<wrong>.)"""
)


def asked(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics of an expression, each with the labels that the expression has in braces or in lists.

    A list after ``by`` or ``on`` belongs to every metric of the expression.
    """
    tokens = [(found.lastgroup, found[0]) for found in PATTERN.finditer(expression) if found.lastgroup != "space"]
    assert "wrong" not in {kind for kind, _ in tokens}, expression
    assert expression.count("(") == expression.count(")")
    names: list[tuple[str, set[str]]] = []
    shared: set[str] = set()
    place = 0
    while place < len(tokens):
        kind, text = tokens[place]
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if kind == "name" and text in {"by", "on"}:
            end = tokens.index(("sign", ")"), place)
            shared |= {one for kind, one in tokens[place + 2 : end] if kind == "name"}
            place = end
        elif kind == "name" and text not in WORDS and not re.fullmatch(FUNCTIONS, text):
            assert following != "(", f"{text} is no known function"
            labels: set[str] = set()
            if following == "{":
                end = tokens.index(("sign", "}"), place)
                labels = {one for kind, one in tokens[place + 2 : end] if kind == "name"}
                place = end
            names.append((text, labels))
        place += 1
    return [(name, labels | shared) for name, labels in names]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$queue", ".*")
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]  # None fails the test
            yield variable["name"], f"max by ({label}) ({metric})"


async def test_every_metric_and_label_is_there(idle_runtime: Runtime) -> None:
    await succeed(idle_runtime, await claimed_job(idle_runtime))
    await add(idle_runtime)
    idle_runtime.metrics.loop_failed("reaper")
    text, _ = await idle_runtime.metrics.text("text/plain")
    known: dict[str, set[str]] = {}
    for family in prometheus.text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    for title, expression in expressions():
        metrics = asked(expression)
        assert metrics, title
        for name, labels in metrics:
            assert name in known, title
            assert labels <= known[name] | OF_SCRAPES, (title, name)
    # What an alarm or a legend says of a label has to be left over by its expression.
    for rule in RULES:
        told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert all(told <= labels | known[name] | OF_SCRAPES for name, labels in asked(rule["expr"])), rule["alert"]
        assert ("by (" not in rule["expr"]) or all(f"by ({label})" in rule["expr"] for label in told), rule["alert"]


def test_there_are_five_alarms_that_the_documentation_names() -> None:
    text = (ROOT / "docs/deploy.md").read_text()
    assert len(RULES) == 5
    for rule in RULES:
        assert f"`{rule['alert']}`" in text
        assert {"summary", "description"} <= set(rule["annotations"])


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
