"""The one table of settings: names, types, defaults, explanations and rules."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jobqueue.domain.errors import SettingsError
from jobqueue.settings import mongo_url, rules
from jobqueue.settings.layers import MASK, SettingText, env_name, from_environment, from_file, from_flags, mask_url
from jobqueue.settings.rules import Network, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

Plain = str | int | float | list[str | int] | None


class SettingRow(NamedTuple):
    """One row of the settings' documentation.

    Attributes:
        name: the key in ``jobqueue.toml`` and, with hyphens, the flag.
        env: the environment variable.
        default: as a person would write it; ``none`` where there is none.
        help: one sentence without a full stop.
    """

    name: str
    env: str
    default: str
    help: str


def _setting(default: object, kind: str, text: str, *, secret: bool = False, **rest: Any) -> Any:
    rule = Rule(kind=rules.KINDS[kind], help=text, secret=secret, **rest)
    return field(default=default, repr=not secret, metadata={"rule": rule})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold every setting; paths from `load` are absolute, times are seconds.

    Attributes:
        sources: for each setting, where its value came from: ``flag``, ``environment``, a file or ``default``.
    """

    mongo_url: str | None = _setting(
        None,
        "str",
        "MongoDB to use, a replica set or sharded cluster; without one, jobqueue starts its own",
        secret=True,
        check=mongo_url.mistakes,
    )
    db: str = _setting(
        "jobqueue", "str", "Name of the database; without one, that in the path of `mongo_url`", check=rules.check_db
    )
    data_dir: Path = _setting(
        Path("jobqueue-data"), "path", "Where a MongoDB started by jobqueue keeps its data", check=rules.check_path
    )
    mongod: Path | None = _setting(
        None, "path", "mongod to start; else the one on PATH, else that of the extra `embedded`", check=rules.check_path
    )
    host: str = _setting("127.0.0.1", "str", "Address to listen on", check=rules.check_host)
    port: int = _setting(8080, "int", "TCP port to listen on; 0 takes a free one", bounds=(0, rules.PORT_MAXIMUM))
    admin_token: str | None = _setting(
        None,
        "str",
        f"Token with every right, at least {rules.TOKEN_MINIMUM} characters; "
        "that or a stored one is needed to listen beyond this machine",
        secret=True,
        check=rules.check_token,
    )
    tls_cert: Path | None = _setting(
        None, "path", "PEM file with the certificate chain: then HTTPS is spoken", check=rules.check_path
    )
    tls_key: Path | None = _setting(None, "path", "PEM file with the certificate's private key", check=rules.check_path)
    trusted_proxies: tuple[Network, ...] = _setting(
        (), "networks", "Networks of proxies whose X-Forwarded-For counts, in CIDR notation, comma-separated"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        "hosts",
        "Names besides localhost, without port, by which requests without a token may address a server "
        "that needs none, comma-separated",
    )
    public_url: str | None = _setting(
        None,
        "str",
        "URL under which people reach a server, for the links of `signal_url` and for forms behind a proxy that "
        "replaces `Host`; without one, that of `host` and `port`",
        check=rules.check_url,
    )
    commands: Path | None = _setting(
        None, "path", "TOML file with the commands that jobs may run", check=rules.check_path
    )
    version: str | None = _setting(
        None, "str", "Version of your program, for the history of the jobs that it runs", check=rules.check_version
    )
    concurrency: int = _setting(10, "int", "Jobs at a time in one process", bounds=(1, 1000))
    poll_interval: float = _setting(
        2.0, "float", "Seconds between looks for work, should a change be missed", bounds=(0.05, 60)
    )
    drain_timeout: float = _setting(
        25.0, "float", "Seconds that running jobs may take to finish after SIGTERM", bounds=(0, 86_400)
    )
    reap_interval: float = _setting(1.0, "float", "Seconds between looks for hanging jobs", bounds=(0.05, 60))
    webhook_allow: tuple[Network, ...] = _setting(
        (), "networks", "Private networks that webhooks may reach, in CIDR notation, comma-separated"
    )
    webhook_ports: tuple[int, ...] = _setting(
        (),
        "ports",
        "Ports that webhooks may reach besides 80 and 443, comma-separated; "
        "with none, any port of a target in `webhook_allow`",
    )
    log_level: str = _setting(
        "info",
        "str",
        "Least severity to log: debug, info, warning, error or critical",
        choices=("debug", "info", "warning", "error", "critical"),
    )
    log_format: Literal["auto", "text", "json"] = _setting(
        "auto",
        "str",
        "How to log: text, json, or auto: text on a terminal, else json",
        choices=("auto", "text", "json"),
    )
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def address(self) -> str:
        """The URL of a server, as people reach it."""
        if self.public_url is not None:
            return self.public_url
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{name}:{self.port}"

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Settings:
        """Read all settings once.

        Empty environment variables count as not set. Relative paths start at `cwd`, those in a file at the file's
        directory. Only the highest layer's value of a setting is parsed; an unknown name is a mistake in every layer.

        Args:
            flags: values from the command line by setting; ``None`` means not given.
            environ: the environment; the process's own if not given.
            cwd: the directory of ``jobqueue.toml``; the process's own if not given.

        Raises:
            SettingsError: with every mistake, each naming where the value came from.
        """
        environ = os.environ if environ is None else environ
        try:
            cwd = Path.cwd() if cwd is None else cwd.absolute()
        except OSError as error:
            raise SettingsError([f"the working directory cannot be used: {error.strerror}"]) from error
        mistakes: list[str] = []
        texts = {
            **from_file(_rules(), environ, cwd, mistakes),
            **from_environment(_rules(), environ, cwd, mistakes),
            **from_flags(_rules(), flags or {}, cwd, mistakes),
        }
        texts = _with_database_of_url(texts)
        values: dict[str, Any] = {}
        for name, setting in texts.items():
            rule = _rules()[name]
            value, objections = rule.parse(setting.text)
            shown = "" if rule.secret else rules.shown(setting.text) + " "
            mistakes += [f"{setting.where}: {shown}{objection}" for objection in objections]
            values[name] = setting.base / value.expanduser() if isinstance(value, Path) and not objections else value
        if mistakes:
            raise SettingsError(mistakes)
        values.setdefault("data_dir", cwd / cls().data_dir)
        sources = {name: texts[name].source if name in texts else "default" for name in _rules()}
        return cls(**values, sources=MappingProxyType(sources))

    def masked(self) -> dict[str, Plain]:
        """Return all values as JSON to show, without secrets and without the password in the MongoDB URL."""
        return {name: _plain(name, getattr(self, name)) for name in _rules()}


def describe() -> list[SettingRow]:
    """Return the documentation of every setting, in order."""
    defaults = {**Settings().masked(), "data_dir": "./jobqueue-data"}
    return [
        SettingRow(name, env_name(name), "none" if defaults[name] in (None, []) else str(defaults[name]), rule.help)
        for name, rule in _rules().items()
    ]


def _with_database_of_url(texts: dict[str, SettingText]) -> dict[str, SettingText]:
    """Add the name of the database from the path of the MongoDB URL, unless the setting is there."""
    url = texts.get("mongo_url")
    name = None if url is None or "db" in texts else mongo_url.database(url.text)
    if url is None or name is None:
        return texts
    where, source = f"database in the path of {url.where}", f"mongo_url, {url.source}"
    return {**texts, "db": SettingText(text=name, where=where, source=source, base=url.base)}


@cache
def _rules() -> Mapping[str, Rule]:
    return MappingProxyType({each.name: each.metadata["rule"] for each in fields(Settings) if each.metadata})


def _plain(name: str, value: object) -> Plain:
    if value is not None and _rules()[name].secret:
        return mask_url(str(value)) if name == "mongo_url" else MASK
    if isinstance(value, tuple):
        return [item if isinstance(item, int) else str(item) for item in value]
    return value if value is None or isinstance(value, int | float) else str(value)
