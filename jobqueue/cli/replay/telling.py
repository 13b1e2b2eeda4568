"""Print a replay: what is known before, what happens, and the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.render import output
from jobqueue.domain.jobs import json_form
from jobqueue.domain.text import cut
from jobqueue.testing.replays import happening as happenings
from jobqueue.testing.replays.replay import ACCEPTED, AGAIN, DIED, FAILED, STOPPED, SUCCEEDED, WAITS

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.work.bundle import Bundle
    from jobqueue.testing.replays.happening import Happening
    from jobqueue.testing.replays.replay import Past, Replayed

_LONGEST: Final = 300
_MOST_PLACES: Final = 20
_READ: Final = ("job.data", "job.meta", "job.parents", "results", "parent", "children")
_WORDS: Final = {
    happenings.TAKEN: "taken from the bundle",
    happenings.BEGUN: "runs here",
    happenings.RAN: "finished",
    happenings.FAILED: "failed",
    happenings.SKIPPED: "",
    happenings.WAITS: "waits",
    happenings.ADDED: "would be added",
    happenings.LOG: "",
    happenings.PROGRESS: "",
}
_SUBJECTS: Final = {
    happenings.ADDED: "job",
    happenings.LOG: "log",
    happenings.PROGRESS: "progress",
}


class Teller:
    """Prints what happens in a run, at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def tell(self, happening: Happening) -> None:
        """Print one thing."""
        if self._as_json:
            return
        subject = _SUBJECTS.get(happening.kind, "step")
        parts = [happening.name, _WORDS[happening.kind]]
        if happening.seconds is not None:
            parts.append(f"after {happening.seconds:.3g} s")
        said = " ".join(part for part in parts if part)
        text = cut(happening.text, _LONGEST)
        joint = ": " if said and text and happening.kind != happenings.WAITS else " " if said and text else ""
        _line(subject, f"{said}{joint}{text}")


def tell_start(bundle: Bundle, start: Past) -> None:
    """Print the job, what was left out of its bundle, and what will run."""
    job = bundle.job
    _line("job", f"{job.id} {job.type} of queue {job.queue}: {job.state.value}, from a bundle of {bundle.made_at}")
    end = "" if start.error is None else f": {_said(start.error)}"
    _line("attempt", f"{start.job.attempts_made} of {job.attempts}{end}")
    if bundle.redacted:
        _line("redacted", _redacted(bundle))
    for sentence in bundle.cut[:20]:
        _line("left out", sentence)
    if dict(start.job.data) != dict(bundle.job.data):
        _line("data", "other than in the bundle; finished steps keep their results unless --from-step says otherwise")
    _line("taken", ", ".join(start.finished) or "no steps: none has finished")
    runs = f"{', '.join(start.open)}, and " if start.open else "and "
    _line("runs", f"the code of the job from its top, {runs}any step that it comes to and that is not taken")


def tell_end(replayed: Replayed, start: Past) -> None:
    """Print the outcome, and whether it is that of the bundle."""
    if replayed.error is not None and replayed.error.trace and replayed.outcome != STOPPED:
        for line in replayed.error.trace.splitlines():
            output.print_line(f"  {output.plain(line)}")
    _line("outcome", _outcome(start, replayed))
    _line("compared", _compared(start, replayed))


def print_json(bundle: Bundle, replayed: Replayed) -> None:
    """Print the end of a replay as JSON."""
    output.print_json(
        {
            "id": bundle.job.id,
            "outcome": replayed.outcome,
            "same": replayed.is_same,
            "reason": replayed.reason,
            "result": json_form.value(replayed.result),
            "error": None if replayed.error is None else json_form.error(replayed.error),
            "fingerprint": replayed.fingerprint,
            "expected": None if replayed.expected is None else json_form.error(replayed.expected),
            "happenings": [_form(each) for each in replayed.happenings],
        }
    )


def _form(each: Happening) -> dict[str, Any]:
    form: dict[str, Any] = {"kind": each.kind, "name": each.name, "text": each.text}
    return form if each.seconds is None else {**form, "seconds": each.seconds}


def _outcome(start: Past, replayed: Replayed) -> str:
    error = "" if replayed.error is None else f": {_said(replayed.error)}"
    job = start.job
    if replayed.outcome == SUCCEEDED:
        return f"succeeds with the result {cut(output.compact(json_form.value(replayed.result)), _LONGEST)}"
    if replayed.outcome == FAILED:
        is_last = job.attempts_made >= job.attempts
        then = "the job would be failed" if is_last else "the job would be tried again"
        return f"fails{error} (attempt {job.attempts_made} of {job.attempts}: {then})"
    return {
        DIED: f"is killed{error}",
        AGAIN: f"is run again, uncounted{error}",
        WAITS: f"waits {replayed.reason}",
        ACCEPTED: "was accepted; another program would report the end",
        STOPPED: f"cannot be told: {replayed.reason}",
    }[replayed.outcome]


def _compared(start: Past, replayed: Replayed) -> str:
    if replayed.is_same:
        return f"the same error as in the bundle, fingerprint {replayed.fingerprint}"
    if replayed.expected is None:
        return "the bundle has no error of this attempt"
    if replayed.outcome == SUCCEEDED:
        return f"not so in the bundle: {_said(replayed.expected)}"
    print_of = "" if replayed.fingerprint is None else f", fingerprint {replayed.fingerprint}"
    expected = "" if start.fingerprint is None else f", fingerprint {start.fingerprint}"
    return f"not the error of the bundle{print_of}; that one is {_said(replayed.expected)}{expected}"


def _said(error: JobError) -> str:
    step = f" in step {error.step}" if error.step else ""
    return cut(f"{error.kind}{step}: {error.message}", _LONGEST)


def _redacted(bundle: Bundle) -> str:
    """Return the places that a handler may read and that are redacted, and the number of others."""
    read = [path for path in bundle.redacted if path.startswith(_READ)]
    others = len(bundle.redacted) - min(len(read), _MOST_PLACES)
    parts = [", ".join(read[:_MOST_PLACES])] if read else []
    if others:
        parts.append(f"{others:,} {'more places' if read else 'places that no handler reads'}")
    hint = " (--data-patch gives values of data back)" if any(path.startswith("job.data") for path in read) else ""
    return f"{', and '.join(parts)}{hint}"


def _line(subject: str, text: str) -> None:
    output.print_line(output.plain(f"{subject:<9} {text}".rstrip()))
