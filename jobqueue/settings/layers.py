"""Find the values of settings as text, in flags, in the environment and in files. Unknown names are mistakes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.domain.errors import SettingsError
from jobqueue.settings.rules import Kind, Rule, shown, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PREFIX = "JOBQUEUE_"
MASK = "***"
FILE_NAME = "jobqueue.toml"
SECRET_LIMIT = 65_536

_CONFIG = PREFIX + "CONFIG"
# For commands, clients and tests: never read as settings.
_FOREIGN = frozenset(
    {
        _CONFIG,
        *(PREFIX + name for name in ("JOB_ID", "TOKEN", "URL", "ATTEMPT", "STEPS", "API_TOKEN", "API_TOKEN_FILE")),
    }
)
_TESTS = PREFIX + "TEST_"
# Kubernetes puts these into every container beside a service named jobqueue or jobqueue-something.
_SERVICE_NAME = re.compile(r"JOBQUEUE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_PORT = re.compile(r"JOBQUEUE_(\w+_)?PORT=(tcp|udp|sctp)://.*")

_PASSWORD = re.compile(r"://([^:]*):.*@", re.DOTALL)
_SECRET_OPTION = re.compile(r"(?i)((?:tlsCertificateKeyFilePassword|authMechanismProperties|proxyPassword)=)[^&;]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingText:
    """Hold a value as text.

    Attributes:
        where: its name in messages, such as ``JOBQUEUE_PORT (environment)``.
        source: its origin, such as ``environment`` or the path of a file.
        base: the absolute directory at which a relative path starts.
    """

    text: str
    where: str
    source: str
    base: Path


def env_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def mask_url(url: str) -> str:
    """Return a MongoDB URL for logs, with its password and secret options masked, rather too much than too little."""
    return _SECRET_OPTION.sub(rf"\1{MASK}", _PASSWORD.sub(rf"://\1:{MASK}@", url, count=1))


def from_flags(
    rules: Mapping[str, Rule], flags: Mapping[str, object], cwd: Path, mistakes: list[str]
) -> dict[str, SettingText]:
    """Return the values of flags that are not ``None``; add mistakes to `mistakes`."""
    values = {name: value for name, value in flags.items() if value is not None}
    return _from_values(
        rules, values, lambda name: f"--{shown(name, '').replace('_', '-')} (flag)", ("flag", cwd), mistakes
    )


def from_file(
    rules: Mapping[str, Rule], environ: Mapping[str, str], cwd: Path, mistakes: list[str]
) -> dict[str, SettingText]:
    """Return the values of the file ``JOBQUEUE_CONFIG`` or ``jobqueue.toml``; add mistakes to `mistakes`."""
    named = environ.get(_CONFIG, "").strip()
    path = cwd / (named or FILE_NAME)
    title = shown(named, "") if named else FILE_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if named:
            mistakes.append(f"{_CONFIG} (environment): there is no file {title}")
        return {}
    except OSError as error:
        mistakes.append(f"{title}: cannot be read: {error.strerror}")
        return {}
    except (ValueError, RecursionError) as error:
        mistakes.append(f"{title}: is not TOML in UTF-8: {error}")
        return {}
    return _from_values(rules, values, lambda name: f"{shown(name, '')} ({title})", (str(path), path.parent), mistakes)


def from_environment(
    rules: Mapping[str, Rule], environ: Mapping[str, str], cwd: Path, mistakes: list[str]
) -> dict[str, SettingText]:
    """Return the values of ``JOBQUEUE_*`` variables that are not empty; add mistakes to `mistakes`."""
    variables = {key: value.strip() for key, value in environ.items() if value.strip() and _is_ours(key, value)}
    texts = {}
    for name, rule in rules.items():
        key = env_name(name)
        text, file_name = variables.pop(key, None), variables.pop(f"{key}_FILE", None) if rule.secret else None
        if text and file_name:
            mistakes.append(f"{key} (environment): is set together with {key}_FILE; unset one of them")
        elif text:
            texts[name] = SettingText(text=text, where=f"{key} (environment)", source="environment", base=cwd)
        elif file_name:
            where, source = f"{key}_FILE (environment)", f"{file_name} ({key}_FILE)"
            if secret := _read_secret(cwd, file_name, where, mistakes):
                texts[name] = SettingText(text=secret, where=where, source=source, base=cwd)
    known = [env_name(name) for name in rules]
    mistakes += [unknown(f"{shown(key, '')} (environment)", key, known) for key in sorted(variables)]
    return texts


def secret(key: str, environ: Mapping[str, str], cwd: Path) -> str:
    """Return the secret of a variable that is no setting, or of the file that ``…_FILE`` names; empty for none.

    Raises:
        SettingsError: both are set, or the file cannot be read.
    """
    text, file_name = environ.get(key, "").strip(), environ.get(f"{key}_FILE", "").strip()
    mistakes: list[str] = []
    if text and file_name:
        mistakes.append(f"{key} (environment): is set together with {key}_FILE; unset one of them")
    elif file_name:
        text = _read_secret(cwd, file_name, f"{key}_FILE (environment)", mistakes)
    if mistakes:
        raise SettingsError(mistakes)
    return text


def _from_values(
    rules: Mapping[str, Rule],
    values: Mapping[str, object],
    where: Callable[[str], str],
    origin: tuple[str, Path],
    mistakes: list[str],
) -> dict[str, SettingText]:
    texts = {}
    source, base = origin
    for name, value in values.items():
        rule = rules.get(name)
        text = _text(value, rule.kind) if rule else None
        if not rule:
            mistakes.append(unknown(where(name), name.replace("-", "_"), rules))
        elif text is None:
            mistakes.append(f"{where(name)}: is not {rule.kind.noun}")
        elif not text and not rule.kind.is_list:
            mistakes.append(f"{where(name)}: is empty")
        else:
            texts[name] = SettingText(text=text, where=where(name), source=source, base=base)
    return texts


def _text(value: object, kind: Kind) -> str | None:
    items = value if isinstance(value, list | tuple) else [value]
    if not isinstance(value, kind.types) or any(isinstance(item, bool | dict | list | tuple) for item in items):
        return None
    try:
        return ",".join(str(item) for item in items).strip()
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return None


def _is_ours(key: str, value: str) -> bool:
    if not key.startswith(PREFIX) or key in _FOREIGN or key.startswith(_TESTS):
        return False
    return not (_SERVICE_NAME.fullmatch(key) or _SERVICE_PORT.fullmatch(f"{key}={value}"))


def _read_secret(cwd: Path, file_name: str, where: str, mistakes: list[str]) -> str:
    name = shown(file_name)
    try:
        with (cwd / file_name).open(encoding="utf-8-sig") as file:
            text = file.read(SECRET_LIMIT).strip()
    except OSError as error:
        mistakes.append(f"{where}: {name} cannot be read: {error.strerror}")
    except ValueError:
        mistakes.append(f"{where}: {name} is not a text file in UTF-8")
    else:
        if not text:
            mistakes.append(f"{where}: {name} is empty")
        return text
    return ""
