"""The needs of a queue: abilities that a process must have to claim from it.

They are stored in the place of ``paused``: ``{"needs": ["steps"], "paused": false}``. For versions without needs, such
as 0.3.0, any such object means that the queue is paused. So no process runs a job that it does not understand, and a
claim has nothing more to look at.
"""

from __future__ import annotations

from typing import Any, Final

STEPS: Final = "steps"
"""Jobs of the queue may have steps and wait for something."""
ABILITIES: Final = (STEPS,)
"""The abilities of this version."""
FIELD: Final = "paused"
NEEDS: Final = "needs"


def of(config: Any) -> tuple[str, ...]:
    """Return the needs in a stored configuration."""
    needs = _marked(config).get(NEEDS)
    return tuple(need for need in needs if isinstance(need, str)) if isinstance(needs, list) else ()


def is_paused(value: Any) -> bool:
    """Return True if a stored value of ``paused`` keeps this process from the queue: a person, or an unknown need."""
    config = {FIELD: value}
    if not _marked(config):
        return bool(value)
    return bool(value.get(FIELD)) or not set(of(config)) <= set(ABILITIES)


def without(config: dict[str, Any]) -> dict[str, Any]:
    """Return a stored configuration as a person has made it."""
    marked = _marked(config)
    if not marked:
        return config
    rest = {name: value for name, value in config.items() if name != FIELD}
    return {FIELD: True, **rest} if marked.get(FIELD) else rest


def keep(config: dict[str, Any] | None, needs: tuple[str, ...]) -> dict[str, Any] | None:
    """Return a configuration to store in place of one with needs."""
    if not needs:
        return config
    paused = bool((config or {}).get(FIELD))
    return {**(config or {}), FIELD: {NEEDS: list(needs), FIELD: paused}}


def _marked(config: Any) -> dict[str, Any]:
    value = config.get(FIELD) if isinstance(config, dict) else None
    return value if isinstance(value, dict) and NEEDS in value else {}
