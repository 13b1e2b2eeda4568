"""Results of the dependencies of a job, for its handler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import UNFINISHED
from jobqueue.domain.errors import ResultUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

Entry = Mapping[str, Any]


def is_unfinished(entry: Entry) -> bool:
    """Tell whether a dependency was started anew, so that it has no result."""
    return entry.get("state") in UNFINISHED


class Results(Mapping[str, Any]):
    """Results by ref; by id where there is no ref, or where another job has the same ref.

    A result that is too large to come with the claim is loaded when it is read. Where the handler cannot wait, reading
    raises an error.

    Args:
        parents: entries ``{id, ref?, result}``, or with ``omitted`` or ``deleted`` in place of the result.
        load: returns an omitted result by the id of its job, for handlers that may block.
    """

    def __init__(self, parents: Sequence[Entry], load: Callable[[str], Any] | None = None) -> None:
        self._load = load
        self._entries: dict[str, Entry] = {}
        ids = {entry["id"] for entry in parents}
        for entry in parents:
            ref = entry.get("ref", entry["id"])
            is_taken = ref in self._entries or ref in ids
            self._entries[entry["id"] if is_taken else ref] = entry

    def __getitem__(self, name: str) -> Any:
        """Return a result.

        Raises:
            KeyError: no dependency has this name.
            ResultUnavailableError: the result must be loaded first, or its job was deleted or started anew.
        """
        entry = self._entries[name]
        if is_unfinished(entry):
            raise ResultUnavailableError(f"the result of {name!r} is not there: its job was started anew")
        if "result" in entry:
            return entry["result"]
        if entry.get("deleted"):
            raise ResultUnavailableError(f"the result of {name!r} is lost: its job was deleted")
        if self._load is None:
            raise ResultUnavailableError(
                f"the result of {name!r} did not come with the claim, as all results are over 8 MiB together: "
                f"await job.results_of({name!r})"
            )
        return self._load(entry["id"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> Entry:
        """Return the entry of a dependency.

        Raises:
            KeyError: no dependency has this name.
        """
        return self._entries[name]
