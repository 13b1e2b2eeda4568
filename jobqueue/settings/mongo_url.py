"""Check the URL of MongoDB, and read its database and its options.

No message shows a part of the URL that may belong to a password without percent-encoding.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PORT_MAXIMUM: Final = 65_535
OVERRIDDEN: Final = frozenset(
    {"w", "wtimeout", "wtimeoutms", "journal", "j", "retrywrites", "retryreads", "readconcernlevel", "readpreference"}
    | {"readpreferencetags", "maxstalenessseconds", "sockettimeoutms", "appname", "connect", "uuidrepresentation"}
    | {"tz_aware", "datetime_conversion", "unicode_decode_error_handler", "waitqueuemultiple"}
)
"""Options, in lower case, that jobqueue sets itself because its promises rest on them."""
OF_MAIN_POOL: Final = frozenset({"timeoutms", "minpoolsize", "maxpoolsize", "maxidletimems", "waitqueuetimeoutms"})
"""Options, in lower case, that do not hold for the connections of change streams and heartbeats."""
_FLAGS: Final = (
    *("connect", "directConnection", "enableOverloadRetargeting", "j", "journal", "loadBalanced", "retryReads"),
    *("retryWrites", "ssl", "tls", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsInsecure"),
    *("tlsDisableOCSPEndpointCheck", "tz_aware"),
)
_NUMBERS: Final = {
    **dict.fromkeys(("connectTimeoutMS", "maxConnecting", "maxIdleTimeMS", "serverSelectionTimeoutMS"), 1),
    **dict.fromkeys(("maxPoolSize", "minPoolSize", "localThresholdMS", "srvMaxHosts", "wTimeoutMS", "wtimeout"), 0),
    **dict.fromkeys(("maxAdaptiveRetries", "socketTimeoutMS", "waitQueueMultiple", "waitQueueTimeoutMS"), 0),
    "heartbeatFrequencyMS": 500,
    "timeoutMS": 100,
    "maxStalenessSeconds": -1,
    "zlibCompressionLevel": -1,
}
"""The least value of each option that is a number; a few milliseconds for a whole operation fail everything."""
_TEXTS: Final = (
    *("appName", "authMechanism", "authMechanismProperties", "authSource", "compressors", "datetime_conversion"),
    *("readConcernLevel", "readPreference", "readPreferenceTags", "replicaSet", "serverMonitoringMode", "w"),
    *("srvServiceName", "srvAllowedHostsSuffix", "tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"),
    *("tlsCertificateKeyFilePassword", "unicode_decode_error_handler", "uuidRepresentation"),
)
KNOWN: Final = {name.lower(): name for name in (*_FLAGS, *_NUMBERS, *_TEXTS)}
"""Options by their names in lower case."""
_LEAST: Final = {name.lower(): least for name, least in _NUMBERS.items()}
_IS_FLAG: Final = frozenset(name.lower() for name in _FLAGS)
_SYSTEM: Final = frozenset({"admin", "local", "config", "$external"})
_FORM: Final = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?)://(?P<authority>[^/?]+)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?"
)
_USER: Final = re.compile(r"(?:[^%@:/]|%[0-9A-Fa-f]{2})*(?::(?:[^%@:/]|%[0-9A-Fa-f]{2})*)?")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%25\w+)?\]|[^\[\]:@%]+|%2[Ff][^:]*)(?::(?P<port>[0-9]{1,5}))?")
_SHORTEST_SECRET: Final = 4
_ESCAPES: Final = "within a user name or a password write @ as %40, : as %3A, / as %2F, ? as %3F and % as %25"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    """One option: as the URL has it, its name in lower case, and its value."""

    text: str
    name: str
    value: str


def mistakes(url: str) -> list[str]:
    """Return all mistakes in a URL, one phrase each, without any part that may be secret."""
    parts = _FORM.fullmatch(url)
    if parts is None:
        return ["does not begin with mongodb:// or mongodb+srv:// and a host"]
    wrong = []
    if " " in url or not url.isprintable():
        wrong.append("has a space or a control character: write it as %20 and the like")
    wrong += _of_authority(parts["authority"], is_srv=parts["scheme"] != "mongodb")
    path, query = parts["path"] or "", parts["query"] or ""
    if "@" in path or re.search(r'[/\\"]', unquote(path)):
        wrong.append(f"has a path that is not the name of a database; {_ESCAPES}")
    if "&" in query and ";" in query:
        wrong.append("separates options both by & and by ;: use only one of them")
    # An @ behind the host may end a password that was cut by a ? in it.
    is_telling = "@" not in query
    for option in _options(query):
        if objection := _objection(option, is_telling=is_telling):
            wrong.append(objection)
    return list(dict.fromkeys(wrong))


def database(url: str) -> str | None:
    """Return the database that a URL names in its path, unless the database belongs to MongoDB itself."""
    parts = _FORM.fullmatch(url)
    path = "" if parts is None else parts["path"] or ""
    name = unquote(path).partition(".")[0]
    return None if "@" in path or not name or name in _SYSTEM else name


def without(url: str, names: Collection[str]) -> str:
    """Return a URL without some of its options, named in lower case."""
    head, mark, query = url.partition("?")
    kept = [option.text for option in _options(query) if option.name not in names]
    return head + mark + "&".join(kept) if kept else head


def without_password(text: str, url: str) -> str:
    """Return a message about a URL with the password of the URL masked."""
    parts = _FORM.fullmatch(url)
    password = "" if parts is None else parts["authority"].rpartition("@")[0].partition(":")[2]
    for secret in {password, unquote(password)}:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def _options(query: str) -> Iterator[_Option]:
    for text in re.split("[&;]", query):
        if text:
            name, _, value = text.partition("=")
            yield _Option(text=text, name=name.lower(), value=unquote(value))


def _of_authority(authority: str, *, is_srv: bool) -> list[str]:
    user, at, hosts = authority.rpartition("@")
    wrong = []
    if at and (not _USER.fullmatch(user) or user.startswith(":") or not user):
        wrong.append(f"has a user name or a password that cannot be read; {_ESCAPES}")
    parts = [_HOST.fullmatch(host) for host in hosts.split(",")]
    ports = [part["port"] for part in parts if part is not None and part["port"] is not None]
    if None in parts or any(not 1 <= int(port) <= PORT_MAXIMUM for port in ports):
        wrong.append(f"has a host or a port that cannot be read; {_ESCAPES}")
    elif is_srv and (len(parts) > 1 or ports):
        wrong.append("begins with mongodb+srv://, after which one host is due, without a port")
    return wrong


def _objection(option: _Option, *, is_telling: bool) -> str | None:
    name, value = option.name, option.value.lower()
    known = KNOWN.get(name)
    if known is None:
        if not is_telling or not re.fullmatch(r"[A-Za-z_]{1,60}", name):
            return f"has an option that MongoDB does not know; {_ESCAPES}"
        close = difflib.get_close_matches(name, KNOWN, n=1)
        return f"has an unknown option {option.text.partition('=')[0]}" + (
            f"; did you mean {KNOWN[close[0]]}?" if close else ""
        )
    is_weak = name == "w" and re.fullmatch(r"[+-]?\d+", value) and int(value[:9]) <= 1
    if is_weak or (name in {"retrywrites", "journal", "j"} and value == "false"):
        return f"sets {option.text if is_telling else known}, but jobqueue needs majority writes: remove it"
    return _of_value(known, name, value)


def _of_value(known: str, name: str, value: str) -> str | None:
    """Object to a value that the driver would ignore, or that breaks every operation."""
    if name in _IS_FLAG and value not in {"true", "false"}:
        return f"sets {known} to neither true nor false"
    least = _LEAST.get(name)
    if least is not None and not (re.fullmatch(r"-?[0-9]{1,9}", value) and int(value) >= least):
        return f"sets {known} to what is not a whole number of at least {least}"
    return f"sets {known} to nothing" if not value else None
