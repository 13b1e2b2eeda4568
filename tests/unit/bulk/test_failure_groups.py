"""Pairs of errors that are the same mistake, and pairs that are different ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import jobqueue
from jobqueue.domain.attempts.attempt import LONGEST_TRACE, JobError
from jobqueue.domain.attempts.fingerprint import fingerprint, summary
from jobqueue.domain.text import cut_middle
from jobqueue.domain.traceback_text import _FOREIGN_CODE, origin

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
JAVASCRIPT = "TypeError: x is undefined\n    at {0} (/srv/app/{0}.js:3:7)\n    at /srv/app/main.js:9:1"
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/srv/app/main.py", line 6, in handle
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/app/steps.py", line 3, in {0}
    |     return row[name]
    | {1}
    +------------------------------------
"""


def trace(*frames: str, error: str = "Boom: it broke", root: str = "/srv/app") -> str:
    """Return a traceback through frames such as ``billing.py:12:charge``, outermost first."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        path, line, function = frame.rsplit(":", 2)
        whole = path if path.startswith(("/", "<", "C:")) else f"{root}/{path}"
        lines += [f'  File "{whole}", line {line}, in {function}', "    do_it()"]
    return "\n".join([*lines, error, ""])


def error(kind: str, message: str = "it broke", at: str | None = None) -> JobError:
    return JobError(kind=kind, message=message, trace=at)


def of(one: JobError) -> str:
    return fingerprint("bill", one)


LIBRARY = "/usr/lib/python3.12/json/decoder.py:355:raw_decode"
PACKAGE = "/srv/app/.venv/lib/python3.11/site-packages/httpx/_client.py:9:send"
OWN = "/opt/queue/jobqueue/processors/callbacks/callback.py:210:log"
WINDOWS = r"C:\Users\ann\AppData\Local\Programs\Python\Python312\Lib\json\decoder.py:355:raw_decode"
CHARGE = "billing.py:12:charge"
EQUAL: dict[str, tuple[JobError, JobError]] = {
    "numbers": (error("ValueError", "no user 41"), error("ValueError", "no user 7")),
    "uuids": (
        error("ValueError", "no 3f2b8c1e-1d2a-4e5f-8a9b-0c1d2e3f4a5b"),
        error("ValueError", "no a1b2c3d4-0000-4e5f-8a9b-ffffffffffff"),
    ),
    "hex": (error("OSError", "at 0x7f3a"), error("OSError", "at 0xff12")),
    "mails": (error("KeyError", "'ann@a.example'"), error("KeyError", "'bob.c@b.example'")),
    "paths": (error("OSError", "no /a/b.png"), error("OSError", "no /c/d/e.png")),
    "times": (error("OSError", "at 2030-01-31T10:00:00Z"), error("OSError", "at 2031-02-01T11:00:01Z")),
    "quoted data": (
        error("ValueError", "invalid literal for int() with base 10: 'abc'"),
        error("ValueError", "invalid literal for int() with base 10: 'xyz'"),
    ),
    "quoted files": (
        error("FileNotFoundError", "[Errno 2] No such file or directory: 'a.csv'"),
        error("FileNotFoundError", "[Errno 2] No such file or directory: 'b.csv'"),
    ),
    "keys that are ids": (
        error("KeyError", "'6b06105097b133d05ea55fc5'"),
        error("KeyError", "'b133d05ea55fc56b06105097'"),
    ),
    "keys that are uuids": (
        error("KeyError", "'order-a1b2c3d4-1d2a-4e5f-8a9b-0c1d2e3f4a5b'"),
        error("KeyError", "'order-3f2b8c1e-1d2a-4e5f-8a9b-ffffffffffff'"),
    ),
    "keys with numbers": (error("KeyError", "'user_42'"), error("KeyError", "'user_43'")),
    "keys that are numbers": (error("KeyError", "42"), error("KeyError", "43")),
    "keys that are dates": (error("KeyError", "'2030-01-31'"), error("KeyError", "'2031-02-01'")),
    "keys that are tokens": (error("KeyError", "'aB3dE6gH9jK2'"), error("KeyError", "'Zx81yW27vU63'")),
    "paths of a host": (
        error("HTTPError", "404 for url: https://api.example.com/v1/7?a=1"),
        error("HTTPError", "404 for url: https://api.example.com/v2/8"),
    ),
    "ports and names of a host": (
        error("HTTPError", "cannot get https://ann:secret@API.example.com:8443/x"),
        error("HTTPError", "cannot get https://bob@api.example.com./y"),
    ),
    "ids in hosts": (
        error("HTTPError", "cannot get https://web-7d4b9c6f5d.example.com/"),
        error("HTTPError", "cannot get https://web-0c1d2e3f4a.example.com/"),
    ),
    "line numbers": (error("Boom", at=trace(CHARGE)), error("Boom", at=trace("billing.py:99:charge"))),
    "directories": (
        error("Boom", at=trace(CHARGE)),
        error("Boom", at=trace(CHARGE, root="/home/ann/releases/20300131")),
    ),
    "hosts": (error("Boom", at=trace(CHARGE)), error("Boom", at=trace(r"C:\app\billing.py:12:charge"))),
    "packages": (
        error("Boom", at=trace("tax/__init__.py:3:rate")),
        error("Boom", at=trace("tax/__init__.py:4:rate", root="/x")),
    ),
    "callers": (error("Boom", at=trace("main.py:1:run", CHARGE)), error("Boom", at=trace("other.py:7:go", CHARGE))),
    "libraries": (error("Boom", at=trace(CHARGE, LIBRARY)), error("Boom", at=trace(CHARGE, PACKAGE))),
    "this package": (error("Boom", at=trace(CHARGE, OWN)), error("Boom", at=trace(CHARGE))),
    "libraries of other systems": (error("Boom", at=trace(CHARGE, LIBRARY)), error("Boom", at=trace(CHARGE, WINDOWS))),
    "generated code": (error("Boom", at=trace(CHARGE, "<string>:3:__init__")), error("Boom", at=trace(CHARGE))),
    "versions of Python": (
        error("Boom", at=trace(CHARGE, "billing.py:12:<listcomp>")),
        error("Boom", at=trace(CHARGE)),
    ),
    "compiled code": (
        error("Boom", at=trace(CHARGE, "pandas/index.pyx:1:get_loc", root="x")),
        error("Boom", at=trace(CHARGE)),
    ),
    "contexts": (
        error("Boom", at=trace("a.py:1:one", error="KeyError: 'a'") + CONTEXT + trace(CHARGE)),
        error("Boom", at=trace("b.py:1:two", error="ValueError: 7") + CONTEXT + trace(CHARGE)),
    ),
    "another language": (error("fail", at=JAVASCRIPT.format("load")), error("fail", at=JAVASCRIPT.format("save"))),
    "nonsense": (error("fail", at='\x00 File "a.py", line x, in'), error("fail", at="}{" * 5000)),
    "an error that did no harm": (
        error("exit", "exit code 3: disk full", "WARNING retry\n" + trace(CHARGE) + "disk full"),
        error("exit", "exit code 3: disk full", "WARNING retry\n" + trace("tax.py:1:rate") + "disk full"),
    ),
    "temporary scripts": (
        error("Boom", at=trace("job_6b06105097b133d05ea55fc5.py:1:main", root="/var/spool")),
        error("Boom", at=trace("job_b133d05ea55fc56b06105097.py:1:main", root="/var/spool")),
    ),
}
DIFFERENT: dict[str, tuple[JobError, JobError]] = {
    "keys": (error("KeyError", "'vat_id'"), error("KeyError", "'iban'")),
    "long keys with numbers": (
        error("KeyError", "'customer_address_line_2'"),
        error("KeyError", "'supplier_address_street_2'"),
    ),
    "keys with spaces": (error("KeyError", "'First Name'"), error("KeyError", "'Last Name'")),
    "keys beyond ASCII": (error("KeyError", "'größe'"), error("KeyError", "'länge'")),
    "attributes": (
        error("AttributeError", "'NoneType' object has no attribute 'strip'"),
        error("AttributeError", "'NoneType' object has no attribute 'items'"),
    ),
    "objects": (
        error("AttributeError", "'Order' object has no attribute 'total'"),
        error("AttributeError", "'Invoice' object has no attribute 'total'"),
    ),
    "names": (error("NameError", "name 'rate' is not defined"), error("NameError", "name 'tax' is not defined")),
    "modules": (
        error("ModuleNotFoundError", "No module named 'a.b'"),
        error("ModuleNotFoundError", "No module named 'c'"),
    ),
    "arguments": (
        error("TypeError", "f() got an unexpected keyword argument 'page'"),
        error("TypeError", "f() got an unexpected keyword argument 'size'"),
    ),
    "imports": (
        error("ImportError", "cannot import name 'a' from 'm' (/srv/m.py)"),
        error("ImportError", "cannot import name 'b' from 'm' (/srv/m.py)"),
    ),
    "columns of a library": (
        error("KeyError", "\"['vat'] not in index\""),
        error("KeyError", "\"['iban'] not in index\""),
    ),
    "hosts": (
        error("HTTPError", "404 for url: https://api.example.com/v1"),
        error("HTTPError", "404 for url: https://pay.example.com/v1"),
    ),
    "quoted hosts": (
        error("HTTPError", "Client error for url 'https://api.example.com/v1'"),
        error("HTTPError", "Client error for url 'https://pay.example.com/v1'"),
    ),
    "hosts of pools": (
        error(
            "ConnectionError", "HTTPSConnectionPool(host='a.example.com', port=443): Max retries exceeded with url: /1"
        ),
        error(
            "ConnectionError", "HTTPSConnectionPool(host='b.example.com', port=443): Max retries exceeded with url: /1"
        ),
    ),
    "addresses": (error("Boom", "no http://10.0.0.1:80/x"), error("Boom", "no http://10.0.0.2:80/x")),
    "addresses of version 6": (error("Boom", "no http://[::1]:80/x"), error("Boom", "no http://[::2]:81/x")),
    "kinds": (error("KeyError", "'a'"), error("Boom", "'a'")),
    "functions": (error("Boom", at=trace(CHARGE)), error("Boom", at=trace("billing.py:12:refund"))),
    "files": (error("Boom", at=trace(CHARGE)), error("Boom", at=trace("tax.py:12:charge"))),
    "packages": (error("Boom", at=trace("tax/__init__.py:3:rate")), error("Boom", at=trace("vat/__init__.py:3:rate"))),
    "files with numbers": (error("Boom", at=trace("step1.py:3:run")), error("Boom", at=trace("step2.py:3:run"))),
    "callers of a library": (
        error("Boom", at=trace(CHARGE, PACKAGE)),
        error("Boom", at=trace("tax.py:1:rate", PACKAGE)),
    ),
    "causes": (
        error(
            "Wrapped",
            at=trace(CHARGE, error="KeyError: 'a'") + CAUSE + trace("main.py:1:run", error="Wrapped: it broke"),
        ),
        error(
            "Wrapped",
            at=trace("tax.py:1:rate", error="KeyError: 'a'")
            + CAUSE
            + trace("main.py:1:run", error="Wrapped: it broke"),
        ),
    ),
    "causes in one function": (
        error("Wrapped", at=trace(CHARGE, error="KeyError: 'a'") + CAUSE + trace(CHARGE, error="Wrapped: it broke")),
        error("Wrapped", at=trace(CHARGE, error="KeyError: 'b'") + CAUSE + trace(CHARGE, error="Wrapped: it broke")),
    ),
    "members of groups": (
        error("ExceptionGroup", at=GROUP.format("one", "KeyError: 'a'")),
        error("ExceptionGroup", at=GROUP.format("two", "KeyError: 'a'")),
    ),
    "errors of members": (
        error("ExceptionGroup", at=GROUP.format("one", "KeyError: 'a'")),
        error("ExceptionGroup", at=GROUP.format("one", "KeyError: 'b'")),
    ),
    "reports with a trace": (
        error("fail", "'vat_id'", trace(CHARGE, error="KeyError: 'vat_id'")),
        error("fail", "'iban'", trace(CHARGE, error="KeyError: 'iban'")),
    ),
    "reports of one text": (
        error("fail", "it failed", trace(CHARGE, error="KeyError: 'vat_id'")),
        error("fail", "it failed", trace(CHARGE, error="KeyError: 'iban'")),
    ),
    "reports without a trace": (error("fail", "KeyError: 'vat_id'"), error("fail", "KeyError: 'iban'")),
    "reports by repr": (error("fail", "KeyError('vat_id')"), error("fail", "KeyError('iban')")),
    "last lines of commands": (
        error("exit", "exit code 1: KeyError: 'vat_id'", "INFO begins\n" + trace(CHARGE, error="KeyError: 'vat_id'")),
        error(
            "exit",
            "exit code 1: KeyError: 'vat_id'",
            "INFO begins\n" + trace("tax.py:1:rate", error="KeyError: 'vat_id'"),
        ),
    ),
    "exit codes": (error("exit", "exit code 3"), error("exit", "exit code 4")),
    "statuses": (error("http", "the webhook answered 500"), error("http", "the webhook answered 502")),
    "bodies of webhooks": (
        error("http", "the webhook answered 500", "HTTP 500\n\n" + trace(CHARGE)),
        error("http", "the webhook answered 500", "HTTP 500\n\n" + trace("tax.py:1:rate")),
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_one_mistake_is_one_group(name: str) -> None:
    one, other = EQUAL[name]
    assert of(one) == of(other), (summary(one), summary(other))


@pytest.mark.parametrize("name", DIFFERENT)
def test_two_mistakes_are_two_groups(name: str) -> None:
    one, other = DIFFERENT[name]
    assert of(one) != of(other), summary(one)


def test_an_error_without_quotes_url_and_trace_stays_in_its_group() -> None:
    """Jobs that failed under an older version and those that fail now are together."""
    assert of(error("timeout", "ran longer than its 5 s")) == "350836f1816b4617"


def test_the_place_in_the_code_is_shown() -> None:
    assert summary(error("KeyError", "'vat_id'", trace("main.py:1:run", CHARGE, LIBRARY))) == (
        "'vat_id'",
        "billing.py in charge",
    )
    assert summary(error("fail", at=JAVASCRIPT.format("load"))) == ("it broke", None)


def test_the_frames_of_this_package_are_known_as_such() -> None:
    root = Path(jobqueue.__file__).parent
    modules = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] != "demo"]
    assert [path for path in modules if not _FOREIGN_CODE.search(f"/srv/{path.relative_to(root.parent)}")] == []
    assert not _FOREIGN_CODE.search("/srv/jobqueue/tasks.py")
    assert not _FOREIGN_CODE.search("/srv/python-app/lib/tasks.py")
    assert _FOREIGN_CODE.search(os.__file__)


def test_a_group_whose_first_member_is_a_group_came_up_where_the_inner_member_did() -> None:
    inner = GROUP.format("one", "KeyError: 'a'").splitlines()
    nested = [
        *inner[:5],
        "    | Exception Group Traceback (most recent call last):",
        '    |   File "/srv/app/outer.py", line 1, in outer',
        "    | ExceptionGroup: inner (1 sub-exception)",
        "    +-+---------------- 1 ----------------",
        "      | Traceback (most recent call last):",
        '      |   File "/srv/app/deep.py", line 1, in deep',
        "      | KeyError: 'b'",
        "      +------------------------------------",
    ]
    found = origin("\n".join(nested), "ExceptionGroup")
    assert found is not None
    assert (found.file, found.function, found.error, found.message) == ("deep.py", "deep", "KeyError", "'b'")


@pytest.mark.parametrize(
    "part",
    [
        "  + Exception Group Traceback (most recent call last):\n",
        "  +-+---------------- 1 ----------------\n",
        "| ",
        '  File "a.py", line 1, in b\n',
        '  File "' + "/" * 50,
        "Traceback (most recent call last):\n",
        CAUSE,
        "C:/x/Lib/",
        "conda",
    ],
)
def test_any_trace_takes_no_longer_than_its_length_asks_for(part: str) -> None:
    text = part * (LONGEST_TRACE // len(part))
    for whole in (text, f'Traceback (most recent call last):\n  File "C:/{text}x.py", line 1, in f\nBoom: 1\n'):
        assert len(of(error("Boom", at=whole))) == 16


def test_a_trace_whose_middle_was_cut_tells_its_end() -> None:
    long = cut_middle(trace(*["main.py:1:run"] * 1000, CHARGE), LONGEST_TRACE)
    assert summary(error("fail", at=long)) == ("it broke", "billing.py in charge")
