"""Replacements of verdicts that cannot be stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.work import result_text
from jobqueue.domain.work.verdict import Success, without_details

if TYPE_CHECKING:
    from jobqueue.domain.work.verdict import Verdict


def instead(verdict: Verdict, error: InvalidInputError | TooLargeError) -> tuple[Verdict, str, str]:
    """Return the replacement of an unstorable verdict, with a log line about it and the level of the line.

    A result becomes its text. A result that is no data, such as an object, becomes a failure. So does a result, or its
    text, over the limit: dependents get all of a result or none.
    """
    if isinstance(verdict, Success) and isinstance(error, InvalidInputError):
        try:
            as_text = replace(verdict, result=result_text.of(verdict.result, str(error)))
        except TooLargeError as too_large:
            error = too_large
        except InvalidInputError:
            pass
        else:
            return as_text, f"the result cannot be stored as it is, so its text is the result: {error}", "warning"
    subject = "result" if isinstance(verdict, Success) else "reason"
    message = f"the {subject} cannot be stored: {error}"
    return without_details(verdict, message), message, "error"
