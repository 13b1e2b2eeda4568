"""The manual has a place for each problem and for each public name."""

from __future__ import annotations

import ast
import re

import jobqueue
from jobqueue.cli.checks.checking import UnhealthyError
from jobqueue.cli.running.sockets import ListenError
from jobqueue.client.errors import ServerUnreachableError
from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.work.bundle import BadBundleError
from jobqueue.domain.work.drain import WorkerDrainedError
from tests.support.docs.readme import ROOT

ERRORS = (JobQueueError, BadBundleError, UnhealthyError, ListenError, ServerUnreachableError, WorkerDrainedError)
FRAMEWORK = {"bad-request", "internal", "method-not-allowed", "usage"}


def slugs_of_errors() -> set[str]:
    homes = {kind.__module__ for kind in ERRORS}

    def below(kind: type[JobQueueError]) -> set[type[JobQueueError]]:
        return {kind}.union(*(below(other) for other in kind.__subclasses__()))

    return {kind.slug for kind in below(JobQueueError) if kind.__module__ in homes} - {JobQueueError.slug}


def problems_of_the_http_layer() -> set[str]:
    slugs = set()
    for path in (ROOT / "jobqueue" / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "func", None)
            made = getattr(name, "id", getattr(name, "attr", ""))
            if isinstance(node, ast.Call) and made in {"ProblemError", "Problem"} and len(node.args) > 1:
                slugs |= {str(part.value) for part in node.args[1:2] if isinstance(part, ast.Constant)}
    return slugs


def test_each_problem_has_a_page() -> None:
    known = slugs_of_errors() | problems_of_the_http_layer() | FRAMEWORK
    pages = {path.stem for path in (ROOT / "docs" / "problems").glob("*.md")} - {"index"}
    assert pages == known
    index = (ROOT / "docs" / "problems" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[([a-z-]+)\]", index, re.MULTILINE)) == known


def test_each_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto\w+:: jobqueue\.[\w.]+\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(jobqueue.__all__)
