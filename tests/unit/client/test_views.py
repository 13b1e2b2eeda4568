"""The client knows the replies and the routes of the API."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from jobqueue import AsyncClient, Client
from jobqueue.api.access.schemas import NewTokenResponse, TokenResponse
from jobqueue.api.alerts.schemas import AlertResponse, StandingResponse
from jobqueue.api.bulk.comparison import (
    BeginningResponse,
    FailureComparisonResponse,
    LikenessResponse,
    LookedResponse,
    TallyResponse,
    TraitResponse,
)
from jobqueue.api.bulk.schemas import (
    FailureGroupResponse,
    FailureResponse,
    OperationResponse,
    PreviewResponse,
    SampleResponse,
)
from jobqueue.api.insight.schemas import ChangeResponse, ConcernResponse
from jobqueue.api.jobs.schemas import (
    CountResponse,
    FamilyResponse,
    JobsQuery,
    RelativeResponse,
    RowsResponse,
    SuggestionResponse,
    SuggestionsResponse,
    WhyResponse,
)
from jobqueue.api.queues.schemas import QueueResponse, QueueWhyResponse
from jobqueue.api.route_table import ROUTES
from jobqueue.api.schedules.schemas import RunResponse, ScheduleResponse
from jobqueue.api.schemas.responses import BriefResponse
from jobqueue.api.work.schemas import TypeResponse, WorkerResponse
from jobqueue.api.workflow.schemas import GraphResponse, NodeResponse
from jobqueue.blocking import Blocking, Iterating
from jobqueue.client.alerts import AlertView, StandingView
from jobqueue.client.wire import comparison, suggestion_views, views
from jobqueue.client.wire.forms import query_form
from jobqueue.domain.search.job_filter import JobFilter
from jobqueue.domain.search.query import JobQuery
from tests.support.docs.readme import ROOT, names

if TYPE_CHECKING:
    from jobqueue.api.schemas.fields import Response

REPLIES: list[tuple[type[msgspec.Struct], type[Response]]] = [
    (views.BriefJob, BriefResponse),
    (views.RelativeView, RelativeResponse),
    (views.FamilyView, FamilyResponse),
    (views.WhyView, WhyResponse),
    (views.RowsView, RowsResponse),
    (views.CountView, CountResponse),
    (views.OperationView, OperationResponse),
    (views.PreviewView, PreviewResponse),
    (views.SampleView, SampleResponse),
    (views.FailureView, FailureResponse),
    (views.FailureGroupView, FailureGroupResponse),
    (comparison.FailureComparisonView, FailureComparisonResponse),
    (comparison.TraitView, TraitResponse),
    (comparison.LikenessView, LikenessResponse),
    (comparison.LookedView, LookedResponse),
    (comparison.BeginningView, BeginningResponse),
    (comparison.TallyView, TallyResponse),
    (views.QueueView, QueueResponse),
    (views.RunView, RunResponse),
    (views.ScheduleView, ScheduleResponse),
    (StandingView, StandingResponse),
    (AlertView, AlertResponse),
    (views.ChangeView, ChangeResponse),
    (views.QueueWhyView, QueueWhyResponse),
    (views.NodeView, NodeResponse),
    (views.GraphView, GraphResponse),
    (views.TokenView, TokenResponse),
    (views.NewTokenView, NewTokenResponse),
    (views.ConcernView, ConcernResponse),
    (views.WorkerView, WorkerResponse),
    (views.TypeView, TypeResponse),
    (suggestion_views.SuggestionView, SuggestionResponse),
    (suggestion_views.SuggestionsView, SuggestionsResponse),
]
ELSEWHERE = {
    "what servers are for": "/ /healthz /readyz /openapi.json /docs /docs/{file} /metrics",
    "people's links": "/answer/{link}",
    "files, whose jobs `search` yields": "/v1/jobs/export",
}
"""Routes that no call of a client uses."""


@pytest.mark.parametrize(("view", "reply"), REPLIES, ids=lambda one: one.__name__)
def test_a_view_has_the_members_of_its_reply(view: type[msgspec.Struct], reply: type[Response]) -> None:
    shown = {field.data_key or name for name, field in reply().fields.items()}
    known = {field.encode_name: field for field in msgspec.structs.fields(view)}
    assert known.keys() - shown == set()
    assert shown - known.keys() <= {"fromStep"}
    sparse = {reply().fields[name].data_key or name for name in getattr(reply, "sparse", ())}
    assert [name for name, field in known.items() if field.required and name in sparse] == []


def test_a_listing_takes_and_sends_every_condition() -> None:
    conditions = {field.name for field in dataclasses.fields(JobQuery)} - {"after", "backward", "states"} | {"state"}
    assert conditions == JobFilter.__optional_keys__
    parameters = {field.data_key or name for name, field in JobsQuery().fields.items()} - {"cursor", "fields", "id"}
    assert query_form(JobQuery()).keys() == parameters


def test_every_route_has_a_call() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "jobqueue" / "client").rglob("*.py")))
    words = set(re.findall(r'"([a-z-]+)"', source)) | {"v1", "claim"}
    elsewhere = {path for paths in ELSEWHERE.values() for path in paths.split()}
    missing = [
        f"{route.method} {route.path}"
        for route in ROUTES
        if route.path not in elsewhere
        and not {part for part in route.path.split("/") if part and not part.startswith("{")} <= words
    ]
    assert missing == []


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type[Any]) -> set[str]:
        return {name for name, _ in inspect.getmembers_static(kind) if not name.startswith("_")}

    own = {"transport", "page"}
    assert calls(AsyncClient) - own == calls(Client) - {"run", "iterate", "calls"}
    for name in calls(Client):
        member = inspect.getattr_static(Client, name)
        if isinstance(member, Blocking | Iterating):
            asynchronous = getattr(AsyncClient, name)
            iterates = inspect.isasyncgenfunction(asynchronous) or not inspect.iscoroutinefunction(asynchronous)
            assert isinstance(member, Iterating) == iterates, name
            assert getattr(Client("http://localhost"), name).__doc__ == asynchronous.__doc__


def test_the_documentation_names_every_call() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    table = page.partition("## Calls")[2].partition("```")[0]
    listed = {name for row in table.splitlines() if row.startswith("|") for name in names(row)}
    calls = {name for name, member in vars(Client).items() if isinstance(member, Blocking | Iterating)}
    assert listed == calls
