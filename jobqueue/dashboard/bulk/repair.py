"""Requeue a group of failures: some of it first, the rest at a pace, from a step, with a patch of the data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk import careful
from jobqueue.dashboard.bulk.many import check_typed, typed_field
from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Preview, Sent
from jobqueue.dashboard.frame.texts import count, shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail.trial import TRIED, place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_MOST_STEPS: Final = 100
_COMPARED_SECONDS: Final = 30.0
_STOP_AFTER: Final = 3
"""The failures after which the form proposes to stop."""
_PACE: Final = 5
"""The unfinished jobs that the form proposes after a trial of one job."""


async def _load(view: View) -> dict[str, Any]:
    fingerprint = view.path("fp")
    path = _path(view)
    group, preview = await asyncio.gather(
        view.ask(f"/v1/failures/{quoted(fingerprint)}"), view.ask(path, body={"dryRun": True})
    )
    matched = preview["matched"]
    jobs = "all of them" if matched is None else count(matched, "job")
    seen = careful.seen(view)
    form = Form(
        title=f"Requeue {jobs}?",
        button=f"Requeue {jobs}{' with this patch' if seen['mark'] else ''}",
        call=Call(method="POST", path=path, body=careful.typed(view.sent)),
        fields=[*await _fields(view, group, preview), *await tied(view)],
        texts=[
            "Each starts anew with all its attempts. A trial or a rule has the operation watch how its jobs end.",
            "It goes on in the background: a page shows how far it is, stops it, and goes on with it.",
        ],
        back=(f"/failures/{quoted(fingerprint)}", shorten(group["message"], 60) or "the group"),
    )
    return (
        shown(view, form)
        | seen
        | {"samples": [] if seen["mark"] else preview["samples"], "is_careful": True, "has_one": True}
    )


async def _fields(view: View, group: Mapping[str, Any], preview: Mapping[str, Any]) -> list[Field]:
    is_several = group["count"] > 1
    is_tried = bool(view.query(TRIED))
    found = careful.fields(
        await _steps(view, group),
        trial=1 if is_several and not is_tried else None,
        pace=_PACE if is_several and is_tried else None,
        stop_after=_STOP_AFTER if is_several else None,
    )
    return [*found, *typed_field(preview)]


async def _steps(view: View, group: Mapping[str, Any]) -> list[str] | None:
    """Return the names of steps that the jobs of a group are likely to have; ``None`` if none is known."""
    compared, sample = await asyncio.gather(
        view.ask_kept(_COMPARED_SECONDS, f"/v1/failures/{quoted(view.path('fp'))}/compare"),
        view.find(f"/v1/jobs/{group['sample']['id']}"),
    )
    finished = [step["name"] for step in (sample or {}).get("steps") or () if step["endAt"]]
    failed = [step["value"] for step in compared["steps"]]
    return list(dict.fromkeys([*finished, *failed]))[:_MOST_STEPS] or None


async def _act(view: View, sent: Sent) -> Deed | Preview:
    path, body = _path(view), careful.read(sent)
    if (preview := await careful.look(view, sent, path, body)) is not None:
        return preview
    if sent.text(careful.DO).startswith(careful.ONE):
        # The rules are for the others: one job is no operation.
        alone = {name: value for name, value in body.items() if name not in {"then", "pace", "stopAfter"}}
        return Deed(
            call=Call(method="POST", path=path, body=alone | {"trial": True}),
            said="One job was started.",
            to=lambda reply: place(reply["job"]["id"], view.path("fp")),
        )
    check_typed(await view.ask(path, body={"dryRun": True}), sent)
    call = Call(method="POST", path=path, body=body)
    return Deed(call=call, said="The operation has begun.", to=lambda operation: f"/operations/{operation['id']}")


def _path(view: View) -> str:
    return f"/v1/failures/{quoted(view.path('fp'))}/requeue"


REPAIR = act_page("/failures/{fp}/requeue", _load, _act, nav="Failures", template=careful.TEMPLATE)
