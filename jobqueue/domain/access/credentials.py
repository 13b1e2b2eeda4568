"""Texts that look like credentials, and names that say that their values are."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final
from urllib.parse import unquote, urlsplit

from jobqueue.domain.access.masking import MASK, masked_text

_WORDS: Final = frozenset(
    {"password", "passwords", "passwd", "pass", "pwd", "passphrase", "passcode", "secret", "secrets", "token", "tokens"}
    | {"credential", "credentials", "authorization", "cookie", "cookies", "bearer", "jwt", "otp", "cvv", "cvc", "pin"}
    | {"apikey", "apikeys", "accesskey", "secretkey", "privatekey", "signingkey", "authtoken", "accesstoken"}
    | {"refreshtoken", "idtoken", "clientsecret", "sessionid", "setcookie", "passkey", "signature", "creds", "totp"}
)
_NUMBERS: Final = frozenset({"password", "passwd", "pwd", "passcode", "pin", "otp", "totp", "cvv", "cvc"})
"""Words that also name numbers that are secrets; a number of tokens is none."""
_PAIRS: Final = frozenset(
    {("api", "key"), ("access", "key"), ("secret", "key"), ("private", "key"), ("signing", "key"), ("session", "id")}
    | {("auth", "key"), ("encryption", "key"), ("service", "key"), ("master", "key"), ("ssh", "key")}
)
_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST_NAME: Final = 200
_LONGEST_BEGINNING: Final = 40
_BEGINNING: Final = re.compile(r"[^\w.-]")
_NAMING: Final = (
    r"(?:passw(?:or)?d|passphrase|pass|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credential|authorization|cookie|creds|jwt|t?otp|cv[vc]|session[_-]?id"
    r"|(?:signing|encryption|service|master|auth|ssh)[_-]?key)[\w.-]{0,40}"
)
# A message that says what a value should be has no value in it.
_SAID: Final = r"(?:expected|is|was|are|must|missing|required|invalid|not|none|null|true|false|wrong|got|has|of)\b"
_FORMS: Final = (
    re.compile(
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
    ),
    re.compile(r"\bwhsec_[A-Za-z0-9+/=]{8,}"),
    re.compile(r"\bjq_[a-z0-9]{8}_[A-Za-z0-9_-]{20,}"),
    # Signed links of this program: what is signed, and 256 bits.
    re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{40,4000}+\.[A-Za-z0-9_-]{43}\b"),
    re.compile(r"(?<=/answer/)[\w.%-]{8,}"),
    re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,8000}+\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(
        r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-|[sr]k_(?:live|test)_|npm_|pypi-|hf_|SG\.)[\w.-]{16,}"
    ),
    re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    re.compile(r"\b(?:ya29\.|xapp-|shp(?:at|ca|pa|ss)_|dop_v1_)[\w-]{16,}"),
    # Webhooks of chats: who knows the path may write.
    re.compile(r"(?<=hooks\.slack\.com/)[\w/-]{8,}"),
    re.compile(r"(?<=/api/webhooks/)[0-9]{5,}/[\w-]{16,}"),
    re.compile(r"(?<=/bot)[0-9]{6,}:[\w-]{20,}"),
)
_SCHEMES: Final = re.compile(
    r"\b(?P<scheme>bearer|basic|digest|negotiate)(?P<gap>\s{1,9})(?P<value>[\w.~+/=-]{6,})", re.IGNORECASE
)
_SCHEME_NAMES: Final = ("bearer", "basic", "digest", "negotiate")
_QUOTED: Final = r"(?P<quote>\\{0,7}[\"'])(?P<inner>(?:(?!(?P=quote))(?:\\.|[^\\\r\n])){1,2000}+)(?P=quote)"
"""A text in quotes, also within a text that is JSON itself."""
_BARE: Final = r"(?P<value>(?:[^\s\"',;&}\])\\]|\\(?![\\\"'])){3,})"
_AFTER_NAME: Final = re.compile(
    rf"(?P<name>{_NAMING})(?P<sign>(?:\\{{0,7}}[\"'])?\s{{0,3}}(?:=>|[=:])\s{{0,3}})(?!{_SAID})(?:{_QUOTED}|{_BARE})",
    re.IGNORECASE,
)
_AFTER_OPTION: Final = re.compile(
    rf"(?<![\w-])(?P<name>--?[a-z][\w-]{{1,60}})(?P<sign>\s{{1,3}})(?!-)(?!{_SAID})(?:{_QUOTED}|{_BARE})",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(
    r"(?P<name>\b(?:(?:proxy-)?authorization|(?:set-)?cookie):[ \t]{0,3}"
    rf"(?:(?:bearer|basic|digest|negotiate)\s{{1,3}})?)(?!{_SAID})"
    r"(?P<value>(?:[^\r\n\"'\\]|(?<==)[\"'][^\r\n\"']{0,500}[\"']){3,4000}+)",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(rf"(?:bearer|basic|digest|negotiate)\s{{1,9}}{re.escape(MASK)}", re.IGNORECASE)
_USER: Final = re.compile(r"(?P<before>\b[a-z][a-z0-9+.-]{1,20}://)(?P<user>[^\s/\"'<>?#]{1,500}@)", re.IGNORECASE)
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>\\]+", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"(?P<sign>[?&;#])(?P<name>[^=&#;?\s]{1,200})=(?P<value>[^&#;\s]*)")
_OF_LINKS: Final = frozenset(
    {"sig", "sign", "signature", "key", "code", "auth", "hmac", "hash", "access", "credential"}
)
_RANDOM: Final = re.compile(r"(?=[^a-zA-Z]*[a-zA-Z])(?=[^0-9]*[0-9])[A-Za-z0-9+/_=%-]{16,}")


@lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Tell whether a name says that its value is a secret, such as ``api_key`` or ``userPassword``."""
    words = [word.lower() for word in _PARTS.findall(name[:_LONGEST_NAME])]
    return not _WORDS.isdisjoint(words) or any((one, other.rstrip("s")) in _PAIRS for one, other in pairwise(words))


def names_secret_number(name: str) -> bool:
    """Tell whether a name says that its value is a secret even if it is a number, such as ``pin``."""
    return not _NUMBERS.isdisjoint(word.lower() for word in _PARTS.findall(name[:_LONGEST_NAME]))


def hidden(text: str, *, queries: bool) -> str:
    """Return a text with masks in the place of what looks like a credential.

    Args:
        text: any.
        queries: mask whole queries of URLs, and not only their parts that look like a credential.
    """
    if "://" in text:
        text = _USER.sub(lambda found: f"{found['before']}{MASK}@", text)
        text = _URL.sub(_masked_parameters, masked_text(text) if queries else text)
    for form in _FORMS:
        text = form.sub(MASK, text)
    text = _HEADER.sub(lambda found: f"{found['name']}{MASK}", text)
    text = _SCHEMES.sub(lambda found: f"{found['scheme']}{found['gap']}{MASK}", text)
    return _AFTER_OPTION.sub(_masked_value, _AFTER_NAME.sub(_masked_value, text))


def secrets_of_url(url: str, *, named: bool = False) -> list[str]:
    """Return the parts of a URL that may be secrets: its password, and the values of its query.

    Args:
        url: any.
        named: only those values whose names say that they are secrets.
    """
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return []
    pairs = [each.partition("=") for each in parts.query.split("&")]
    values = [value or name for name, _, value in pairs if names_secret(name) or not named]
    found = [part for part in (password, *values) if part]
    return list(dict.fromkeys([*found, *map(unquote, found)]))


def _masked_value(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - _LONGEST_BEGINNING) : found.start()]
    name = f"{_BEGINNING.split(before)[-1]}{found['name']}"
    value, quote = found["value"] or found["inner"], found["quote"] or ""
    is_masked = MASK in value if found["value"] else value == MASK or _SCHEME.fullmatch(value)
    if is_masked or not names_secret(name) or value.lower() in _SCHEME_NAMES:
        return found[0]
    return f"{found['name']}{found['sign']}{quote}{MASK}{quote}"


def _masked_parameters(url: re.Match[str]) -> str:
    return _PARAMETER.sub(_masked_parameter, url[0])


def _masked_parameter(found: re.Match[str]) -> str:
    words = {word.lower() for word in _PARTS.findall(found["name"])}
    is_secret = names_secret(found["name"]) or not _OF_LINKS.isdisjoint(words)
    if not found["value"] or MASK in found["value"] or not (is_secret or _RANDOM.fullmatch(found["value"])):
        return found[0]
    return f"{found['sign']}{found['name']}={MASK}"
