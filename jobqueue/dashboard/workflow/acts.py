"""Restart what failed in a batch, seal it, and end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.frame.texts import count
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.workflow.batch_texts import batch_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_UNFINISHED: Final = ("pending", "processing", "delayed")


async def _load_requeue(view: View) -> dict[str, Any]:
    batch = await _batch(view)
    counts = batch["counts"]
    fell = counts["failed"] + counts["killed"]
    again = Field(
        name="callbacks",
        label="onSuccess again",
        kind="flag",
        help="It comes a second time if it came before. Without this it comes once.",
    )
    form = Form(
        title="Restart what failed?",
        button=f"Restart {count(fell, 'job')}",
        call=Call(method="POST", path=_path(view, "/requeue")),
        fields=[*([again] if batch["onSuccess"] else []), *await tied(view)],
        texts=[
            f"Failed: {counts['failed']:,}. Killed: {counts['killed']:,}. They run again, each after what it needs.",
            f"Successful ones are not touched: {counts['success']:,}.",
            _callbacks(batch),
        ],
        why_not="" if fell else "No job of it has failed or was killed.",
        back=_back(view, batch),
    )
    return shown(view, form)


async def _act_requeue(view: View, sent: Sent) -> Deed:
    body = {"callbacks": True} if "callbacks" in sent.values else None
    call = Call(method="POST", path=_path(view, "/requeue"), body=body)
    return Deed(call=call, said="What failed runs again.", to=_here(view))


async def _load_seal(view: View) -> dict[str, Any]:
    batch = await _batch(view)
    form = Form(
        title="Seal the batch?",
        button="Seal it",
        call=Call(method="POST", path=_path(view, "/seal")),
        fields=await tied(view),
        texts=["No further jobs come. It ends when all of its jobs have ended, and its callbacks come then."],
        why_not="It is sealed already." if batch["sealed"] else "",
        back=_back(view, batch),
    )
    return shown(view, form)


async def _act_seal(view: View, _sent: Sent) -> Deed:
    return Deed(call=Call(method="POST", path=_path(view, "/seal")), said="The batch is sealed.", to=_here(view))


async def _load_kill(view: View) -> dict[str, Any]:
    batch = await _batch(view)
    left = sum(batch["counts"][state] for state in _UNFINISHED)
    form = Form(
        title=f"End {count(left, 'job')} of the batch?",
        button=f"Kill {count(left, 'job')}",
        call=Call(method="POST", path=_path(view, "/kill"), body={"reason": "not needed any more"}),
        fields=[
            Field(name="reason", label="Reason", placeholder="killed by a person", help="It is kept with each job."),
            *await tied(view),
        ],
        texts=[
            f"{count(batch['counts']['processing'], 'job')} of these run now and are told to stop.",
            "What has ended stays. The batch can be restarted later.",
        ],
        why_not="" if left else "All of its jobs have ended.",
        back=_back(view, batch),
        is_dangerous=True,
    )
    return shown(view, form)


async def _act_kill(view: View, sent: Sent) -> Deed:
    reason = sent.text("reason")
    call = Call(method="POST", path=_path(view, "/kill"), body={"reason": reason} if reason else None)
    here = _here(view)
    return Deed(
        call=call,
        said=lambda reply: f"{count(reply['killed'], 'job')} killed." if "killed" in reply else "The kill has begun.",
        to=lambda reply: here if "killed" in reply else f"/operations/{reply['id']}",
    )


def _callbacks(batch: Mapping[str, Any]) -> str:
    if not any(batch[name] for name in ("onComplete", "onSuccess", "onFailure")):
        return "The batch has no callbacks."
    return "When the batch ends, its callbacks come if it ends otherwise than before."


async def _batch(view: View) -> dict[str, Any]:
    return await view.ask(_path(view))


def _path(view: View, action: str = "") -> str:
    return f"/v1/batches/{quoted(view.path('id'))}{action}"


def _here(view: View) -> str:
    return f"/batches/{quoted(view.path('id'))}"


def _back(view: View, batch: Mapping[str, Any]) -> tuple[str, str]:
    return _here(view), batch_text(batch, view.now).name


RESTART = act_page("/batches/{id}/requeue", _load_requeue, _act_requeue, nav="Batches")
SEAL = act_page("/batches/{id}/seal", _load_seal, _act_seal, nav="Batches")
END = act_page("/batches/{id}/kill", _load_kill, _act_kill, nav="Batches")
