"""Forms of pages: their fields, what was typed, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.dashboard.frame.acts.call import Call

Kind = Literal["text", "number", "area", "choice", "flag", "time", "hidden"]
"""A ``text`` with choices offers these, and takes other texts as well."""
BACK = "back"
"""The field with the page to go to afterwards."""
KEY = "key"
"""The field by which the same form is known again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The reason why a form was not carried out.

    Attributes:
        status: of the reply.
        text: a sentence.
        fields: reasons by the name of a field, or by a path below it.
        is_clash: somebody has changed the subject since the form was shown.
        is_unsure: the form may have been carried out before.
    """

    status: int
    text: str
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_clash: bool = False
    is_unsure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A form that was sent.

    Attributes:
        values: the first value of each field.
        lists: all values of each field.
        trouble: the reason why it was not carried out, if it was not.
        preview: what would happen, if the page shows that.
    """

    values: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]
    trouble: Trouble | None = None
    preview: Any = None

    def text(self, name: str) -> str:
        """Return a value without blanks around it; empty if it is missing."""
        return self.values.get(name, "").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A form that can be carried out.

    Attributes:
        call: of the API.
        said: the sentence that tells what was done, or a function of the reply that returns it.
        to: the page to go to, or a function of the reply that returns it.
        shown: the reply is shown on the page of the form in place of going elsewhere, as it is shown only once.
        is_decision: of two decisions about the same the API refuses the second.
    """

    call: Call
    said: str | Callable[[Any], str]
    to: str | Callable[[Any], str]
    shown: bool = False
    is_decision: bool = False

    @property
    def is_safe_again(self) -> bool:
        """True if a second call, after one of which nobody knows the outcome, is refused or does nothing."""
        return bool(self.call.key or self.call.match) or self.is_decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A preview of what a form would do; the page shows it, and asks once more."""

    values: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form.

    Attributes:
        value: as it is now, or as it was typed.
        help: a few words below the field.
        choices: values and their texts.
        present: the value that the subject has now, where somebody else has changed it meanwhile.
        problem: the reason why what was typed cannot be taken.
        path: of the value in the API, if that is not the name.
        group: the heading above the field and its neighbours.
    """

    name: str
    label: str = ""
    kind: Kind = "text"
    value: str = ""
    help: str = ""
    placeholder: str = ""
    choices: Sequence[tuple[str, str]] = ()
    is_required: bool = False
    rows: int = 3
    present: str | None = None
    problem: str = ""
    path: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of a page.

    Attributes:
        title: a question, or what it is about.
        button: the verb.
        call: of the API, as the form stands.
        fields: in their order.
        texts: sentences about what will happen.
        why_not: the reason why it cannot be done now; empty if it can.
        back: address and name of the page of the subject.
        is_dangerous: the button looks like that.
        differences: path, value before and value after of what will change, once they are known.
        trouble: the reason why it was not carried out.
        preview_button: shows first what would happen.
    """

    title: str
    button: str
    call: Call
    fields: Sequence[Field] = ()
    texts: Sequence[str] = ()
    why_not: str = ""
    back: tuple[str, str]
    is_dangerous: bool = False
    differences: Sequence[tuple[str, str, str]] = ()
    trouble: Trouble | None = None
    preview_button: str = ""
    preview: Any = None

    @property
    def others(self) -> list[tuple[str, str]]:
        """Reasons that belong to no field which is shown."""
        if self.trouble is None:
            return []
        known = [name for each in self.fields if each.kind != "hidden" for name in (each.name, each.path) if name]
        found = self.trouble.fields.items()
        return [(path, "; ".join(texts)) for path, texts in found if all(_below(path, name) is None for name in known)]


def filled(form: Form, sent: Sent | None) -> Form:
    """Return a form with what was typed, and with the reasons why it was not carried out."""
    if sent is None:
        return form
    trouble = sent.trouble
    names = [each.name for each in form.fields if each.kind != "hidden"]
    fields = [_filled(each, names, sent, trouble) for each in form.fields]
    return replace(form, fields=fields, trouble=trouble, preview=sent.preview)


def _filled(each: Field, names: Sequence[str], sent: Sent, trouble: Trouble | None) -> Field:
    is_clash = trouble is not None and trouble.is_clash
    if each.kind == "hidden" and each.name != BACK and is_clash:
        # The present tag goes with the present values: who sends the form again has seen them.
        return each
    if each.name == KEY and trouble is not None and trouble.is_unsure:
        # Who sends the form again has looked, and means it.
        return each
    typed = ("1" if each.name in sent.values else "") if each.kind == "flag" else sent.values.get(each.name, each.value)
    typed = typed.replace("\r\n", "\n")
    reasons = [] if trouble is None else _reasons(each.name, names, trouble.fields)
    if trouble is not None and each.path:
        reasons += _reasons(each.path, names, trouble.fields)
    is_other = is_clash and typed != each.value
    return replace(each, value=typed, problem="; ".join(reasons), present=each.value if is_other else None)


def _reasons(name: str, names: Sequence[str], fields: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the reasons of a field; a reason below several fields is that of the longest name."""
    inner = [other for other in names if other != name and _below(other, name) is not None]
    found = []
    for path, texts in fields.items():
        below = _below(path, name)
        if below is not None and all(_below(path, other) is None for other in inner):
            found += [f"{below} {text}" if below else text for text in texts]
    return found


def _below(path: str, name: str) -> str | None:
    """Return the rest of a path that is a field, or that is below it; ``None`` for another path."""
    if path == name:
        return ""
    return path.removeprefix(f"{name}.") if path.startswith(f"{name}.") else None
