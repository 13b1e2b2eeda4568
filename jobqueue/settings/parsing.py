"""Turn the settings' texts into values with environs, collecting every mistake. Imported only to load settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from environs import Env, EnvValidationError, ValidationError, validate

from jobqueue.settings.rules import LISTS, NOUNS, Rule, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.settings.layers import SettingText


class Reader(Env):
    """Look settings up by name in what was found, where `Env` would look into the process's environment."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self._texts = texts
        for name, parse in LISTS.items():
            self.add_parser(name, _parser(parse))

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._texts.get(env_key, default)


def parse(rules: Mapping[str, Rule], found: Mapping[str, SettingText], mistakes: list[str]) -> dict[str, Any]:
    """Return the values of what was found, paths made absolute. Mistakes are added to `mistakes`."""
    reader = Reader({name: each.text.lower() if rules[name].choices else each.text for name, each in found.items()})
    values = {name: _read(reader, name, rules[name]) for name in found}
    try:
        reader.seal()
    except EnvValidationError as error:
        for name, messages in cast("Mapping[str, list[str]]", error.error_messages).items():
            value = "" if rules[name].secret else shown(found[name].text) + " "
            mistakes += [f"{found[name].where}: {value}{message}" for message in messages]
        return {}
    return {
        name: found[name].base / value.expanduser() if isinstance(value, Path) else value
        for name, value in values.items()
    }


def _parser(parse_list: Callable[[str], object]) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return parse_list(text)
        except ValueError as error:
            raise ValidationError(f"will not do: {error}") from error

    return read


def _read(reader: Reader, name: str, rule: Rule) -> object:
    if rule.parser in LISTS:
        return getattr(reader, rule.parser)(name)
    errors = dict.fromkeys(("invalid", "special", "too_large"), f"is not {NOUNS[rule.parser]}")
    return getattr(reader, rule.parser)(name, validate=_validators(rule), error_messages=errors)


def _validators(rule: Rule) -> list[Callable[[Any], object]]:
    def check(value: object) -> None:
        if rule.check and (objection := rule.check(value)):
            raise ValidationError(objection)

    validators: list[Callable[[Any], object]] = [check]
    if rule.bounds:
        low, high = rule.bounds
        validators.append(validate.Range(low, high, error=f"is not between {low:.10g} and {high:.10g}"))
    if rule.choices:
        validators.append(validate.OneOf(rule.choices, error=f"is none of {', '.join(rule.choices)}"))
    return validators
