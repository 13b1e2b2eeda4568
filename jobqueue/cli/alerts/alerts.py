"""``jobqueue alerts``: list, show, set, mute, test and delete alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.alerts.alert import FIELDS, check_mute, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View

_SET: Final = errors.epilog(
    "alerts set ops url=https://hooks.example.com/jobs",
    """alerts set ops stuckSeconds=600 'kinds=["failures", "queue"]' remindSeconds=null""",
    "alerts set ops @ops.json",
)
_WHOLE: Final = ("{", "[", "@")


def _about(view: Mapping[str, Any], _: datetime) -> str:
    if "kinds" not in view:
        return "cannot be read"
    queues = "" if view["queues"] is None else f" in {', '.join(view['queues'])}"
    return f"{', '.join(view['kinds'])}{queues}"


def _state(view: Mapping[str, Any], now: datetime) -> str:
    if view["mutedUntil"] is None:
        return "on"
    reason = f": {view['muteReason']}" if view["muteReason"] else ""
    return f"muted for {moments.ahead(view['mutedUntil'], now)}{reason}"


_COLUMNS: Final = (
    tables.field("name", answers=True),
    Column(name="state", cell=_state),
    tables.field("url", least=12),
    Column(name="about", cell=_about, least=12, rank=1),
    Column(name="standing", cell=lambda view, _: f"{len(view['standing']):,}", answers=True),
    Column(name="remind", cell=lambda view, _: _span(view.get("remindSeconds")), rank=2),
    tables.field("changedAt", hidden=True, heading="CHANGED AT"),
)
_STANDING: Final = tables.plain_view(
    tables.field("since"), tables.field("kind"), tables.field("messages"), tables.field("message", answers=True)
)


@click.group(cls=Group, epilog=errors.epilog())
def alerts() -> None:
    """List, show, set, mute, test and delete alerts, which send signed messages about what needs somebody."""


@alerts.command(name="list", epilog=errors.epilog())
@tables.table_options(_COLUMNS)
@command_options
def list_alerts(*, view: View, as_json: bool, **options: Any) -> None:
    """List all alerts by name, with the number of things that go on."""
    views = with_api(options, lambda api: api.items("alerts"))
    empty = "there are no alerts: jobqueue alerts set ops url=https://… makes one"
    tables.print_items(views, view, as_json=as_json, empty=empty)


@alerts.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.alerts)
@command_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print an alert with secrets masked, and the things that it has told of and that go on."""
    check_name(name)
    _print(with_api(options, lambda api: api.get("alerts", name)), as_json=as_json)


@alerts.command(name="set", epilog=_SET)
@click.argument("name", shell_complete=complete.alerts)
@click.argument("definition", metavar="DEFINITION...", nargs=-1, required=True)
@command_options
def set_definition(name: str, definition: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Create an alert, or change it.

    DEFINITION is FIELD=VALUE for each field to change, its value JSON or a text. Or it is a JSON object, @FILE to read
    it from, or - for stdin: that replaces the whole alert. Fields: url, secret, headers, timeout, kinds, queues,
    stuckSeconds, waitingSeconds, minimumFailures, remindSeconds, recovered. A secret that is made is printed now and
    masked from then on.
    """
    check_name(name)
    if len(definition) == 1 and (definition[0] == "-" or definition[0].startswith(_WHOLE)):
        whole = values.read_object(definition[0], "definition")
        _change(options, lambda api: api.put("alerts", name, body=whole), as_json=as_json)
        return
    changes = values.nested([values.pair(text, "definition") for text in definition], "definition")

    async def change(api: Api) -> dict[str, Any]:
        present = await api.find("alerts", name) or {}
        body = {field: value for field, value in present.items() if field in FIELDS} | changes
        changed: dict[str, Any] = await api.put("alerts", name, body=body)
        return changed

    _change(options, change, as_json=as_json)


@alerts.command(epilog=errors.epilog("alerts mute ops --for 2h --reason 'a new disk'"))
@click.argument("name", shell_complete=complete.alerts)
@click.option("--for", "span", default="1h", show_default=True, metavar="TIME", help="How long: 90s, 2h, 1d.")
@click.option("--reason", help="For people who look at the alert.")
@command_options
def mute(name: str, span: str, reason: str | None, *, as_json: bool, **options: Any) -> None:
    """Mute an alert for maintenance: no message is sent. Things that go on afterwards are told of then."""
    _mute(name, values.duration(span, "for"), reason, options, as_json=as_json)


@alerts.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.alerts)
@command_options
def unmute(name: str, *, as_json: bool, **options: Any) -> None:
    """End the mute of an alert."""
    _mute(name, 0, None, options, as_json=as_json)


@alerts.command(epilog=errors.epilog("logs -f ID", "show ID"))
@click.argument("name", shell_complete=complete.alerts)
@command_options
def test(name: str, *, as_json: bool, **options: Any) -> None:
    """Send a test message, also while the alert is muted, and print the id of its job."""
    job = with_api(options, lambda api: api.post("alerts", check_name(name), "test"))
    output.print_document(job, job["id"], as_json=as_json)


@alerts.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.alerts)
@command_options
def delete(name: str, *, as_json: bool, **options: Any) -> None:
    """Delete an alert; its messages that were not sent yet are given up."""
    check_name(name)
    with_api(options, lambda api: api.delete("alerts", name))
    output.print_document({"name": name}, f"{name} deleted", as_json=as_json)


def _mute(name: str, seconds: float, reason: str | None, options: dict[str, Any], *, as_json: bool) -> None:
    check_name(name)
    check_mute(seconds, reason)
    body: dict[str, Any] = {"seconds": seconds} | ({"reason": reason} if reason is not None else {})
    view = with_api(options, lambda api: api.post("alerts", name, "mute", body=body))
    until = view["mutedUntil"]
    output.print_document(view, f"{name} muted until {until}" if until else f"{name} not muted", as_json=as_json)


def _change(options: dict[str, Any], change: Any, *, as_json: bool) -> None:
    """Change an alert, and print it with the secret that was made."""
    document = with_api(options, change, creates=True)
    if document.get("secret") not in {None, MASK}:
        output.note("the secret of the alert is shown only this once")
    _print(document, as_json=as_json)


def _span(seconds: float | None) -> str:
    return "never" if seconds is None else f"every {moments.exact(seconds)}"


def _print(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    standing = view.pop("standing")
    output.print_fields(view)
    output.print_line()
    tables.print_rows(standing, _STANDING, empty="nothing that it has told of goes on")
