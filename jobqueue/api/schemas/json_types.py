"""Keywords of JSON Schema for the domain's limits."""

from __future__ import annotations

from typing import Any, Final

from jobqueue.domain.attempts.fingerprint import LENGTH
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.durations import LONGEST
from jobqueue.domain.jobs.job import MOST_CHILDREN, MOST_DEPENDENCIES, POLICIES
from jobqueue.domain.limits import limits
from jobqueue.domain.steps.step import LONGEST_NAME
from jobqueue.domain.values.checks import BOUNDS, EXPIRY_BOUNDS, LONGEST_KEY, LONGEST_TYPE, QUEUE_NAME
from jobqueue.domain.workflow.batch import MOST_MEMBERS

Form = dict[str, Any]

NULL: Final[Form] = {"type": "null"}
DATE: Final[Form] = {"type": "string", "format": "date-time"}
FINGERPRINT: Final[Form] = {"type": "string", "pattern": f"^[0-9a-f]{{{LENGTH}}}$"}
ID: Final[Form] = {"type": "string", "pattern": "^[0-9a-fA-F]{24}$"}
SHORT_ID: Final[Form] = {
    "type": "string",
    "pattern": "^(…|[.]{3})?[0-9a-fA-F]{6,24}$|^[0-9a-fA-F]{6,24}(…|[.]{3})$",
    "description": "an id, or its first or last digits; the last ones are looked up among the newest 100,000",
}
TYPE: Final[Form] = {"type": "string", "minLength": 1, "maxLength": LONGEST_TYPE, "pattern": "^([^$*]|[*].)"}
QUEUE: Final[Form] = {"type": "string", "pattern": f"^{QUEUE_NAME.pattern}$"}
KEY: Final[Form] = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}
REF: Final[Form] = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$"}
STATE: Final[Form] = {"type": "string", "enum": [state.value for state in State]}
POLICY: Final[Form] = {"type": "string", "enum": list(POLICIES)}
STEP_NAME: Final[Form] = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}
OUTCOME: Final[Form] = {"type": "string", "enum": [outcome.value for outcome in Outcome]}
CONTENT: Final[Form] = {"type": "object", "propertyNames": {"pattern": "^[^$\\x00]?[^\\x00]*$"}}
META: Final[Form] = {"type": "object", "propertyNames": {"pattern": "^[^.$\\x00][^.\\x00]*$"}}
COUNTS: Final[Form] = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
CURSOR: Final[Form] = {"type": "string"}
REASON: Final[Form] = {
    "required": ["kind", "message"],
    "properties": {"kind": {"type": "string"}, "message": {"type": "string"}},
}
DEPENDENCIES: Final[Form] = {"maxItems": MOST_DEPENDENCIES}
MEMBERS: Final[Form] = {"maxItems": MOST_MEMBERS}
RATE_LIMIT: Final[Form] = {"minimum": 1, "maximum": limits.MOST_STARTS}
RATE_WINDOW: Final[Form] = {"minimum": limits.SHORTEST_WINDOW, "maximum": limits.LONGEST_WINDOW}
CONCURRENCY: Final[Form] = {"minimum": 1, "maximum": limits.MOST_CONCURRENCY}
FAILURES: Final[Form] = {"minimum": 1, "maximum": limits.MOST_FAILURES}
COOLDOWN: Final[Form] = {"exclusiveMinimum": 0, "maximum": limits.LONGEST_COOLDOWN}
RETRIES: Final[Form] = {"minimum": 1, "maximum": limits.MOST_RETRIES}
RETENTION: Final[Form] = {"exclusiveMinimum": 0, "maximum": limits.LONGEST_RETENTION}
EXPIRY: Final[Form] = {"minimum": EXPIRY_BOUNDS[0], "maximum": EXPIRY_BOUNDS[1]}
START_BEFORE: Final[Form] = {
    "description": "a job that has not started by then is killed: a date, or seconds from the time it is due",
    "oneOf": [DATE, {"type": "number", **EXPIRY}],
}
_WAIT: Final[Form] = {"type": "number", "minimum": 0, "maximum": LONGEST}
BACKOFF: Final[Form] = {
    "description": "seconds; a list of them, the last of which repeats; or exponentially growing",
    "oneOf": [
        _WAIT,
        {"type": "array", "items": _WAIT, "minItems": 1, "maxItems": 1000},
        {
            "type": "object",
            "required": ["kind"],
            "additionalProperties": False,
            "properties": {
                "kind": {"const": "exponential"},
                "base": _WAIT,
                "factor": {"type": "number", "minimum": 1, "maximum": 1000},
                "max": _WAIT,
                "jitter": {"type": "number", "minimum": 0, "maximum": 1},
            },
        },
    ],
}


def bounds(name: str) -> Form:
    """Return the limits of a numeric field of a job."""
    low, high = BOUNDS[name]
    return {"minimum": low, "maximum": high}


def named(schema: str) -> Form:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{schema}"}


def group(schema: str = "NewJob", most: int = MOST_CHILDREN) -> Form:
    """Return a job or several jobs."""
    job = named(schema)
    return {"anyOf": [job, {"type": "array", "items": job, "maxItems": most}]}
