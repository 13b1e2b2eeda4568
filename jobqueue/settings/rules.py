"""Rules that the values of settings follow, and the messages for values that break them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.unknown import hint
from jobqueue.domain.values import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Network = IPv4Network | IPv6Network

TOKEN_MINIMUM = 16
PORT_MAXIMUM = 65_535
HOST_MAXIMUM = 253
SHOWN_MAXIMUM = 200


class Kind(NamedTuple):
    """A kind of value.

    Attributes:
        noun: of a value, for messages.
        types: of values in files and flags.
        parse: returns the value of a text, or raises `ValueError`.
        is_list: a text has any number of values, and may be empty.
    """

    noun: str
    types: tuple[type, ...]
    parse: Callable[[str], Any]
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One setting's explanation, and its rules for values.

    Attributes:
        help: one sentence without a full stop.
        kind: of its value.
        secret: never shown, and readable from a file named by ``JOBQUEUE_X_FILE``.
        bounds: least and greatest number.
        choices: the only texts accepted, in any case.
        check: returns its objection to the parsed value, or several; an empty text or list for none.
    """

    help: str
    kind: Kind
    secret: bool = False
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], str | list[str]] | None = None

    def parse(self, text: str) -> tuple[Any, list[str]]:
        """Return the value of a text and all objections to the value."""
        try:
            value = self.kind.parse(text.lower() if self.choices else text)
        except ValueError as error:
            return None, [f"will not do: {error}" if self.kind.is_list else f"is not {self.kind.noun}"]
        answer = self.check(value) if self.check else []
        objections = [answer] if isinstance(answer, str) else [*answer]
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            objections.append("is not between {:.10g} and {:.10g}".format(*self.bounds))
        if self.choices and value not in self.choices:
            objections.append(f"is none of {', '.join(self.choices)}")
        return value, [objection for objection in objections if objection]


def shown(text: str, quote: str = '"') -> str:
    """Return `text` in quotes, on one line and not too long, to show in a message."""
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return quote + (plain if len(plain) <= SHOWN_MAXIMUM else f"{plain[:SHOWN_MAXIMUM]}…") + quote


def unknown(where: str, name: str, known: Iterable[str], noun: str = "a setting") -> str:
    """Return the mistake of a name that is not known, with the known name that is most like it."""
    return f"{where}: is not {noun}{hint(name, tuple(known))}"


def check_db(text: str) -> str:
    """Object to a name that MongoDB refuses for databases or keeps for itself."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}", text):
        return "may have up to 63 letters, digits, - and _"
    return "belongs to MongoDB itself" if text in {"admin", "config", "local"} else ""


def check_version(text: str) -> str:
    """Object to a text that is no version of a program."""
    try:
        checks.check_version(text)
    except InvalidInputError as error:
        return error.problems["version"][0]
    return ""


def check_host(text: str) -> str:
    """Object to a text that is neither a host name nor an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return "" if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) else "is not a host name or an IP address"
    return ""


def check_url(text: str) -> str:
    """Object to a text that is no plain http or https URL."""
    try:
        parts = urlsplit(text)
        is_plain = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        is_plain = False
    usable = is_plain and text.isascii() and text.isprintable() and " " not in text and "@" not in text
    return "" if usable else "is not a URL such as https://jobs.example.org"


def check_token(text: str) -> str:
    """Object to a token that is too short or cannot travel in an HTTP header."""
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        return "may have only printable ASCII characters, without spaces: it travels in an HTTP header"
    return "" if len(text) >= TOKEN_MINIMUM else f"has {len(text)} characters; at least {TOKEN_MINIMUM} are needed"


def check_path(value: Path) -> str:
    """Object to a text that can never be a path."""
    if "\0" in str(value):
        return "has a NUL character"
    try:
        value.expanduser()
    except RuntimeError:
        return "begins with ~ and a user without a home directory"
    return ""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the comma-separated networks in CIDR notation; a bare address is a network of one.

    Raises:
        ValueError: naming the first item that is none.
    """
    return tuple(_network(item) for item in _items(text))


def parse_ports(text: str) -> tuple[int, ...]:
    """Return the comma-separated TCP ports.

    Raises:
        ValueError: naming the first item that is none.
    """
    items = _items(text)
    for item in items:
        if not (re.fullmatch("[0-9]{1,5}", item) and 1 <= int(item) <= PORT_MAXIMUM):
            raise ValueError(f"{shown(item)} is not a port from 1 to {PORT_MAXIMUM}")
    return tuple(int(item) for item in items)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the comma-separated names and addresses of hosts, in lower case, without a last dot and brackets.

    Raises:
        ValueError: naming the first item that is none.
    """
    return tuple(_host(item) for item in _items(text))


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


KINDS: Final = {
    "int": Kind("a whole number", (str, int), int),
    "float": Kind("a number", (str, int, float), _number),
    "str": Kind("text", (str,), str),
    "path": Kind("a path", (str, Path), Path),
    "networks": Kind("a list of networks", (str, list, tuple), parse_networks, is_list=True),
    "ports": Kind("a list of ports", (str, list, tuple), parse_ports, is_list=True),
    "hosts": Kind("a list of host names", (str, list, tuple), parse_hosts, is_list=True),
}


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _host(item: str) -> str:
    name = item.lower().removesuffix(".")
    try:
        return str(ip_address(name[1:-1] if re.fullmatch(r"\[.*\]", name) else name))
    except ValueError:
        if re.fullmatch(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) and len(name) <= HOST_MAXIMUM:
            return name
    raise ValueError(f"{shown(item)} is not the name or address of a host, without a port, such as queue.example.org")


def _network(item: str) -> Network:
    try:
        return ip_network(item)
    except ValueError as error:
        if "host bits" in str(error):
            raise ValueError(f"{item} has host bits set; did you mean {ip_network(item, strict=False)}?") from None
        raise ValueError(f"{shown(item)} is not a network such as 10.0.0.0/8") from None
