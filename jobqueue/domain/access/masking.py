"""Masks in place of secrets, and of the parts of a URL that often are secrets; only administrators read those."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

MASK: Final = "********"
_SHORTEST_SECRET: Final = 6
"""Characters; a longer part of a query is masked wherever it stands."""
_LONG_PART: Final = 12
"""Characters; a longer part of a path is masked wherever it stands."""
_SENT_AS_IT_IS: Final = "%!$&'()*+,;=:@/?-._~"
_URL: Final = re.compile(r"https?://[^\s\"'<>\\]+", re.IGNORECASE)


def masked_url(url: str) -> str:
    """Return a URL with a mask in place of its user name and password, its query and its fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    at = parts.netloc.rpartition("@")
    netloc = f"{MASK}@{at[2]}" if at[1] else parts.netloc
    query, fragment = (MASK if part else "" for part in (parts.query, parts.fragment))
    if netloc == parts.netloc and not query and not fragment:
        return url
    return urlunsplit((parts.scheme, netloc, parts.path, query, fragment))


def masked_text(text: str) -> str:
    """Return a text with all URLs in it masked."""
    return _URL.sub(lambda url: masked_url(url[0]), text)


def without_query(text: str, url: str) -> str:
    """Return a text that may quote a request to a URL, with the query of the URL masked."""
    query = url.partition("#")[0].partition("?")[2]
    values = (part.partition("=")[2] for part in query.split("&"))
    secrets = [query, *(value for value in values if len(value) >= _SHORTEST_SECRET)]
    for secret in filter(None, secrets):
        sent = quote(secret, safe=_SENT_AS_IT_IS)
        for form in (secret, sent, html.escape(sent), sent.replace("&", "\\u0026")):
            text = text.replace(f"?{form}", f"?{MASK}")
            if len(form) >= _SHORTEST_SECRET:
                text = text.replace(form, MASK)
    return text


def without_path(text: str, url: str) -> str:
    """Return a text that may quote a request to a URL, with the path of the URL masked."""
    path = urlsplit(url).path.strip("/")
    parts = [part for part in path.split("/") if len(part) >= _LONG_PART]
    for secret in (path, path.replace("/", "\\/"), *parts):
        for form in (secret, quote(secret, safe=_SENT_AS_IT_IS), html.escape(secret)):
            if len(form) >= _SHORTEST_SECRET:
                text = text.replace(form, MASK)
    return text


def masked_queue(config: Any) -> Any:
    """Return a queue's configuration in its wire form with the URLs of its webhooks masked."""
    processors = config.get("processors") if isinstance(config, Mapping) else None
    if not isinstance(processors, Mapping):
        return config
    masked = {
        kind: {**processor, "url": masked_url(processor["url"])}
        for kind, processor in processors.items()
        if isinstance(processor, Mapping) and isinstance(processor.get("url"), str)
    }
    return {**config, "processors": {**processors, **masked}}
