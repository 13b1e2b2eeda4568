"""Fields of the processors of a queue, and the patch that was typed.

The names of fields follow from the type of job, so that what was typed stays with its processor if another person adds
or removes one meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.form import Field
from jobqueue.dashboard.queues.edit.settings import seconds, span_text
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST: Final = 20
"""Processors that the form shows; others stay as they are."""
NEW: Final = "new"
_USUAL_TIMEOUT: Final = 30
_MARK: Final = "p-"
_MEMBERS: Final = {"webhook": ("url", "timeout", "headers", "secret"), "command": ("name",)}
_HEADERS_HELP: Final = "As JSON. A mask stands for a value that stays."
_SECRET_HELP: Final = "To change over without a gap: jobqueue queue rotate-secret."  # noqa: S105 - a help
_KINDS: Final = (("webhook", "webhook"), ("command", "command"))


def prefix(kind: str) -> str:
    """Return the beginning of the names of the fields of a type of job."""
    return _MARK + hashlib.sha256(kind.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def is_name(name: str) -> bool:
    """Tell whether a name is that of a field of a processor."""
    return name.startswith(_MARK)


def fields(config: Mapping[str, Any], typed: Mapping[str, str], seen: Mapping[str, str]) -> list[Field]:
    """Return the fields of the processors that there are, of those that were typed, and of a new one.

    Args:
        config: of the queue.
        typed: texts by name; none for a form that nobody has sent.
        seen: the texts that were there before. Of a processor that is gone only what was touched is shown.
    """
    found: list[Field] = []
    asked = [kind for _, kind in _named(typed) if kind in config["processors"]]
    for kind in dict.fromkeys([*list(config["processors"])[:MOST], *asked]):
        processor = config["processors"][kind]
        chosen = _typed_kind(typed, kind)
        # Somebody has made another kind of it meanwhile, or an earlier kind is put back.
        is_other = chosen is not None and chosen != processor["kind"] and _is_touched(typed, seen, prefix(kind))
        found += _fields(kind, {"kind": chosen}, is_there=False) if is_other else _fields(kind, processor)
    for at, kind in _named(typed):
        chosen = _typed_kind(typed, kind)
        is_gone = kind not in config["processors"] and f"{at}.gone" not in typed
        if is_gone and chosen is not None and _is_touched(typed, seen, at):
            found += _fields(kind, {"kind": chosen}, is_there=False)
    return [*found, *_new_fields(typed)]


def _fields(kind: str, processor: Mapping[str, Any], *, is_there: bool = True) -> Iterator[Field]:
    at, path, title = prefix(kind), f"processors.{kind}", f"Processor of {kind}"
    title += "" if is_there else ", which is not there now"
    texts = _shown(processor) if is_there else {}
    yield Field(name=f"{at}.type", kind="hidden", value=kind)
    yield Field(name=f"{at}.kind", kind="hidden", value=processor["kind"])
    for name in _MEMBERS[processor["kind"]]:
        yield _member(at, path, name, texts.get(name, ""), group=title, is_new=not is_there)
    yield Field(name=f"{at}.gone", label="Remove", kind="flag", help=f"This {processor['kind']}.", group=title)


def _member(at: str, path: str, name: str, value: str, *, group: str, is_new: bool) -> Field:
    label, empty, told = {
        "url": ("URL", "https://example.com/hook", ""),
        "timeout": ("Timeout", str(_USUAL_TIMEOUT), "Of one whole request."),
        "headers": ("Headers", "none", _HEADERS_HELP),
        "secret": ("Secret", "one is made" if is_new else "stays as it is", "" if is_new else _SECRET_HELP),
        "name": ("Command", "its name in the command file of the server", ""),
    }[name]
    kind: Any = "number" if name == "timeout" else "text"
    where = f"{path}.{name}"
    return Field(
        name=f"{at}.{name}", label=label, kind=kind, value=value, placeholder=empty, help=told, path=where, group=group
    )


def _new_fields(typed: Mapping[str, str]) -> Iterator[Field]:
    group, path = "A new processor", f"processors.{typed.get(f'{NEW}.type', '').strip()}"
    yield Field(name=f"{NEW}.type", label="Job type", placeholder="none is added", help="* for all others", group=group)
    yield Field(name=f"{NEW}.kind", label="Kind", kind="choice", value="webhook", choices=_KINDS, group=group)
    for name in ("url", "timeout", "headers", "secret", "name"):
        yield _member(NEW, path, name, "", group=group, is_new=True)


def shown(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the fields by name."""
    found: dict[str, str] = {}
    for kind, processor in config["processors"].items():
        at = prefix(kind)
        found |= {f"{at}.type": kind, f"{at}.kind": processor["kind"]}
        found |= {f"{at}.{name}": text for name, text in _shown(processor).items()}
    return found


def _is_touched(typed: Mapping[str, str], seen: Mapping[str, str], at: str) -> bool:
    """Tell whether the fields of a processor differ from what was there before."""
    names = [name for name in typed if name.startswith(f"{at}.")]
    return any(typed[name].strip() != seen.get(name, "") for name in names)


def _typed_kind(typed: Mapping[str, str], kind: str) -> str | None:
    """Return the kind of processor that a form had for a type of job, if it had one."""
    chosen = typed.get(f"{prefix(kind)}.kind")
    return chosen if chosen in _MEMBERS else None


def _shown(processor: Mapping[str, Any]) -> dict[str, str]:
    if processor["kind"] == "command":
        return {"name": processor["name"]}
    timeout = processor.get("timeout", _USUAL_TIMEOUT)
    headers = processor.get("headers")
    return {
        "url": processor["url"],
        "timeout": "" if timeout == _USUAL_TIMEOUT else span_text(timeout),
        "headers": json.dumps(headers, ensure_ascii=False) if headers else "",
        "secret": "",
    }


def _named(typed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the beginnings of the names that were sent, and the types that they stand for."""
    for name, kind in typed.items():
        if name.startswith(_MARK) and name.endswith(".type") and name == f"{prefix(kind)}.type":
            yield prefix(kind), kind


def patch(typed: Mapping[str, str], seen: Mapping[str, str], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch of the processors that was typed.

    Args:
        typed: texts by name.
        seen: the texts that were there before.
        present: the processors of the queue.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    problems: Problems = {}
    body: dict[str, Any] = {}
    for at, kind in _named(typed):
        there = present.get(kind)
        if f"{at}.gone" in typed:
            if there is not None:
                body[kind] = None
        elif there is None or _typed_kind(typed, kind) not in (None, there["kind"]):
            if _is_touched(typed, seen, at):
                body[kind] = _whole(typed, at, kind, problems)
        elif changes := _changes(typed, seen, at, kind, there, problems):
            body[kind] = changes
    _add_new(body, typed, present, problems)
    if problems:
        raise InvalidInputError(problems)
    return {"processors": body} if body else {}


def _changes(
    typed: Mapping[str, str],
    seen: Mapping[str, str],
    at: str,
    kind: str,
    there: Mapping[str, Any],
    problems: Problems,
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in _MEMBERS[there["kind"]]:
        text = typed.get(f"{at}.{name}", "").strip()
        if f"{at}.{name}" not in typed or text == seen.get(f"{at}.{name}", ""):
            continue
        value = gather(problems, _read, name, text, f"processors.{kind}.{name}")
        if name == "headers":
            # A merge patch keeps the members that it does not name.
            value = dict.fromkeys(there.get("headers", {})) | (value or {})
        if name != "secret" or text:
            changes[name] = value
    return changes


def _whole(typed: Mapping[str, str], at: str, kind: str, problems: Problems) -> dict[str, Any]:
    """Return a processor that is not there yet."""
    chosen = typed.get(f"{at}.kind", "webhook")
    found: dict[str, Any] = {"kind": chosen}
    for name in ("url", "timeout", "headers", "secret", "name"):
        text = typed.get(f"{at}.{name}", "").strip()
        path = f"processors.{kind}.{name}"
        if text and name not in _MEMBERS.get(chosen, ()):
            problems[path] = [f"is not for a {chosen}"]
        elif text:
            found[name] = gather(problems, _read, name, text, path)
        elif name in ("url", "name") and name in _MEMBERS.get(chosen, ()):
            problems[path] = ["is required"]
    return found


def _add_new(body: dict[str, Any], typed: Mapping[str, str], present: Mapping[str, Any], problems: Problems) -> None:
    kind = typed.get(f"{NEW}.type", "").strip()
    others = [typed.get(f"{NEW}.{name}", "").strip() for name in ("url", "timeout", "headers", "secret", "name")]
    if kind and kind in present and body.get(kind, kind) is not None:
        problems[f"{NEW}.type"] = ["has a processor already: change that one"]
    elif kind:
        body[kind] = _whole(typed, NEW, kind, problems)
    elif any(others):
        problems[f"{NEW}.type"] = ["is required for a new processor"]


def _read(name: str, text: str, path: str) -> Any:
    if name == "timeout":
        return seconds(text, path) if text else None
    if name == "headers":
        return json_text.read_object(text, path) if text else None
    return text
