from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from jobqueue.domain.errors import SettingsError
from jobqueue.settings import Settings, describe, mask_url

TOKEN = "a-long-enough-token"  # noqa: S105 - a made-up one
UNSAFE = "but jobqueue needs majority writes: remove it"
NAMES = [row.name for row in describe()]


def mistakes(
    tmp_path: Path,
    *,
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    toml: str | None = None,
) -> list[str]:
    if toml is not None:
        (tmp_path / "jobqueue.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.load(flags, environ or {}, tmp_path)
    return caught.value.mistakes


def test_without_anything_the_defaults_hold_and_paths_are_absolute(tmp_path: Path) -> None:
    settings = Settings.load({}, {}, tmp_path)

    assert settings == Settings(data_dir=tmp_path / "jobqueue-data")
    assert set(settings.sources.values()) == {"default"}
    assert list(settings.sources) == NAMES


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("mongo_url", "mongodb://a:1,b:2/?replicaSet=rs0&w=majority", "mongodb://a:1,b:2/?replicaSet=rs0&w=majority"),
        ("mongo_url", "mongodb+srv://u:p@h/?retryWrites=true&journal=true", None),
        ("mongo_url", "mongodb://h/?w=3", None),
        ("db", "jobs_2-a", None),
        ("data_dir", "/var/lib/jobqueue", Path("/var/lib/jobqueue")),
        ("mongod", "/usr/bin/mongod", Path("/usr/bin/mongod")),
        ("host", "0.0.0.0", None),  # noqa: S104 - what a container listens on
        ("host", "::1", None),
        ("host", "my-host.example", None),
        ("port", "0", 0),
        ("port", "65535", 65535),
        ("port", " 80 ", 80),
        ("admin_token", TOKEN, None),
        ("commands", "/etc/commands.toml", Path("/etc/commands.toml")),
        ("version", "2.4.1+g1a2b3c", None),
        ("concurrency", "1000", 1000),
        ("poll_interval", "0.05", 0.05),
        ("drain_timeout", "0", 0.0),
        ("reap_interval", "60", 60.0),
        (
            "webhook_allow",
            "10.0.0.0/8, fd00::/8,127.0.0.1",
            tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8", "127.0.0.1"))),
        ),
        ("webhook_allow", ",", ()),
        ("webhook_ports", "8080, 9000", (8080, 9000)),
        ("allowed_hosts", "A.example., 10.0.0.1", ("a.example", "10.0.0.1")),
        ("log_level", "WARNING", "warning"),
        ("log_format", "json", None),
    ],
)
def test_each_setting_is_read_alike_from_flag_environment_and_file(
    tmp_path: Path, name: str, text: str, value: object
) -> None:
    expected = text if value is None else value
    file = tmp_path / "other.toml"
    file.write_text(f"{name} = {json.dumps(text)}\n", encoding="utf-8")

    by_flag = Settings.load({name: text}, {}, tmp_path)
    by_environment = Settings.load({}, {f"JOBQUEUE_{name.upper()}": text}, tmp_path)
    by_file = Settings.load({}, {"JOBQUEUE_CONFIG": str(file)}, tmp_path)

    assert [getattr(each, name) for each in (by_flag, by_environment, by_file)] == [expected] * 3
    assert by_flag.sources[name] == "flag"
    assert by_environment.sources[name] == "environment"
    assert by_file.sources[name] == str(file)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mongo_url", "http://h", "does not begin with mongodb:// or mongodb+srv:// and a host"),
        ("mongo_url", "mongodb://", "does not begin with mongodb:// or mongodb+srv:// and a host"),
        ("mongo_url", "mongodb://u:p p@h", "has a space or a control character: write it as %20 and the like"),
        ("mongo_url", "mongodb://h/?w=1", f"sets w=1, {UNSAFE}"),
        ("mongo_url", "mongodb://h/?tls=true&W=0", f"sets W=0, {UNSAFE}"),
        ("mongo_url", "mongodb://h/?retryWrites=False", f"sets retryWrites=False, {UNSAFE}"),
        ("mongo_url", "mongodb://h/?tls=true;journal=false", f"sets journal=false, {UNSAFE}"),
        ("db", "a.b", '"a.b" may have up to 63 letters, digits, - and _'),
        ("db", "admin", '"admin" belongs to MongoDB itself'),
        ("data_dir", "~no-such-user/x", '"~no-such-user/x" begins with ~ and a user without a home directory'),
        ("data_dir", "a\0b", '"a\\x00b" has a NUL character'),
        ("host", "127.0.0.1:80", '"127.0.0.1:80" is not a host name or an IP address'),
        ("port", "abc", '"abc" is not a whole number'),
        ("port", "80.5", '"80.5" is not a whole number'),
        ("port", "-1", '"-1" is not between 0 and 65535'),
        ("port", "65536", '"65536" is not between 0 and 65535'),
        ("admin_token", "short", "has 5 characters; at least 16 are needed"),
        (
            "admin_token",
            "spaces in a long token",
            "may have only printable ASCII characters, without spaces: it travels in an HTTP header",
        ),
        ("concurrency", "0", '"0" is not between 1 and 1000'),
        ("poll_interval", "nan", '"nan" is not a number'),
        ("poll_interval", "1e999", '"1e999" is not a number'),
        ("poll_interval", "0.01", '"0.01" is not between 0.05 and 60'),
        (
            "webhook_allow",
            "10.0.0.1/8",
            '"10.0.0.1/8" will not do: 10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?',
        ),
        ("webhook_allow", "x", '"x" will not do: "x" is not a network such as 10.0.0.0/8'),
        ("webhook_ports", "80,0", '"80,0" will not do: "0" is not a port from 1 to 65535'),
        ("webhook_ports", "99999", '"99999" will not do: "99999" is not a port from 1 to 65535'),
        ("log_level", "loud", '"loud" is none of debug, info, warning, error, critical'),
        ("log_format", "xml", '"xml" is none of auto, text, json'),
    ],
)
def test_a_mistake_names_the_place_and_shows_no_secret(tmp_path: Path, name: str, text: str, message: str) -> None:
    flag = name.replace("_", "-")
    toml = f"{name} = {json.dumps(text)}"

    assert mistakes(tmp_path, flags={name: text}) == [f"--{flag} (flag): {message}"]
    assert mistakes(tmp_path, environ={f"JOBQUEUE_{name.upper()}": text}) == [
        f"JOBQUEUE_{name.upper()} (environment): {message}"
    ]
    assert mistakes(tmp_path, toml=toml) == [f"{name} (jobqueue.toml): {message}"]


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "jobqueue.toml").write_text('port = 1\ndb = "file"\nhost = "file"\n', encoding="utf-8")

    settings = Settings.load(
        {"port": 3, "db": None, "host": None}, {"JOBQUEUE_PORT": "2", "JOBQUEUE_DB": "environment"}, tmp_path
    )

    assert (settings.port, settings.db, settings.host, settings.concurrency) == (3, "environment", "file", 10)
    assert [settings.sources[name] for name in ("port", "db", "host", "concurrency")] == [
        "flag",
        "environment",
        str(tmp_path / "jobqueue.toml"),
        "default",
    ]


def test_an_overruled_value_is_not_judged(tmp_path: Path) -> None:
    assert Settings.load({"port": 3}, {"JOBQUEUE_PORT": "abc"}, tmp_path).port == 3


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        flags={"concurrency": 0},
        environ={"JOBQUEUE_PORT": "abc", "JOBQUEUE_PROT": "1", "JOBQUEUE_ADMIN_TOKEN_FILE": "missing"},
        toml='log-level = "info"\ncommands = {}\nreap_interval = "x"\n',
    )

    assert found == [
        "log-level (jobqueue.toml): is not a setting; did you mean log_level?",
        "commands (jobqueue.toml): is not a path",
        'JOBQUEUE_ADMIN_TOKEN_FILE (environment): "missing" cannot be read: No such file or directory',
        "JOBQUEUE_PROT (environment): is not a setting; did you mean JOBQUEUE_PORT?",
        'reap_interval (jobqueue.toml): "x" is not a number',
        'JOBQUEUE_PORT (environment): "abc" is not a whole number',
        '--concurrency (flag): "0" is not between 1 and 1000',
    ]


@pytest.mark.parametrize("value", [True, {}, [1], ["x", {}], 1.5, None])
def test_a_value_of_another_type_in_the_file_is_a_mistake(tmp_path: Path, value: object) -> None:
    literal = "{}" if value == {} else "1979-05-27" if value is None else json.dumps(value).replace("{}", "{}")

    assert len(mistakes(tmp_path, toml=f"db = {literal}")) == 1


def test_numbers_and_lists_in_the_file_keep_their_types(tmp_path: Path) -> None:
    (tmp_path / "jobqueue.toml").write_text(
        'port = 81\npoll_interval = 3\nwebhook_ports = [1, 2]\nwebhook_allow = ["10.0.0.0/8"]\n', encoding="utf-8"
    )

    settings = Settings.load({}, {}, tmp_path)

    assert (settings.port, settings.poll_interval, settings.webhook_ports) == (81, 3.0, (1, 2))
    assert settings.webhook_allow == (ip_network("10.0.0.0/8"),)


def test_a_number_too_long_to_write_is_a_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, toml="port = 0x" + "F" * 9000) == ["port (jobqueue.toml): is not a whole number"]


def test_the_commands_way_of_passing_values_works(tmp_path: Path) -> None:
    settings = Settings.load(
        {"port": 0, "data_dir": Path("x"), "webhook_allow": (ip_network("10.0.0.0/8"),), "webhook_ports": ()},
        {},
        tmp_path,
    )

    assert (settings.port, settings.data_dir) == (0, tmp_path / "x")
    assert (settings.webhook_allow, settings.webhook_ports) == ((ip_network("10.0.0.0/8"),), ())


def test_relative_paths_start_where_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.toml").write_text('commands = "commands.toml"\n', encoding="utf-8")

    settings = Settings.load(
        {"mongod": "~/mongod"}, {"JOBQUEUE_CONFIG": "conf/mine.toml", "JOBQUEUE_DATA_DIR": "data"}, tmp_path
    )

    assert settings.commands == tmp_path / "conf" / "commands.toml"
    assert settings.data_dir == tmp_path / "data"
    assert settings.mongod == Path.home() / "mongod"


def test_secrets_can_be_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    (tmp_path / "url").write_text("mongodb://h\n", encoding="utf-8")
    environ = {"JOBQUEUE_ADMIN_TOKEN_FILE": str(tmp_path / "token"), "JOBQUEUE_MONGO_URL_FILE": "url"}

    settings = Settings.load({}, environ, tmp_path)

    assert (settings.admin_token, settings.mongo_url) == (TOKEN, "mongodb://h")
    assert settings.sources["mongo_url"] == "url (JOBQUEUE_MONGO_URL_FILE)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n", '"token" is empty'),
        (b"\xff", '"token" is not a text file in UTF-8'),
        (b"short", "has 5 characters; at least 16 are needed"),
    ],
)
def test_a_bad_secret_file_is_a_mistake(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "token").write_bytes(content)

    assert mistakes(tmp_path, environ={"JOBQUEUE_ADMIN_TOKEN_FILE": "token"}) == [
        f"JOBQUEUE_ADMIN_TOKEN_FILE (environment): {message}"
    ]


def test_a_secret_given_twice_is_a_mistake_and_only_secrets_come_from_files(tmp_path: Path) -> None:
    twice = {"JOBQUEUE_ADMIN_TOKEN": TOKEN, "JOBQUEUE_ADMIN_TOKEN_FILE": "token"}

    assert mistakes(tmp_path, environ=twice | {"JOBQUEUE_PORT_FILE": "x"}) == [
        "JOBQUEUE_ADMIN_TOKEN (environment): is set together with JOBQUEUE_ADMIN_TOKEN_FILE; unset one of them",
        "JOBQUEUE_PORT_FILE (environment): is not a setting; did you mean JOBQUEUE_PORT?",
    ]


def test_empty_variables_are_not_set_but_empty_flags_are_mistakes(tmp_path: Path) -> None:
    environ = {f"JOBQUEUE_{name.upper()}": " " for name in NAMES} | {"JOBQUEUE_CONFIG": "", "JOBQUEUE_NONSENSE": ""}

    assert Settings.load({}, environ, tmp_path) == Settings.load({}, {}, tmp_path)
    assert mistakes(tmp_path, flags={"db": ""}) == ["--db (flag): is empty"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBQUEUE_JOB_ID", "x"),
        ("JOBQUEUE_TOKEN", "x"),
        ("JOBQUEUE_URL", "x"),
        ("JOBQUEUE_TEST_ANYTHING", "x"),
        ("JOBQUEUE_SERVICE_HOST", "10.0.0.1"),
        ("JOBQUEUE_SERVICE_PORT_HTTP", "8080"),
        ("JOBQUEUE_PORT", "tcp://10.0.0.1:8080"),
        ("JOBQUEUE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("JOBQUEUE_MONGO_PORT", "tcp://10.0.0.2:27017"),
        ("jobqueue_port", "1"),
        ("OTHER", "x"),
    ],
)
def test_variables_meant_for_others_are_left_alone(tmp_path: Path, name: str, value: str) -> None:
    assert Settings.load({}, {name: value}, tmp_path).port == 8080


def test_what_is_nowhere_near_a_setting_gets_no_suggestion(tmp_path: Path) -> None:
    assert mistakes(tmp_path, toml="zzzzzz = 1") == ["zzzzzz (jobqueue.toml): is not a setting"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"port = ", "jobqueue.toml: is not TOML in UTF-8: "),
        (b"\xff", "jobqueue.toml: is not TOML in UTF-8: "),
        (b"a = " + b"[" * 100_000, "jobqueue.toml: is not TOML in UTF-8: "),
    ],
)
def test_a_broken_file_is_a_mistake(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "jobqueue.toml").write_bytes(content)

    (found,) = mistakes(tmp_path)

    assert found.startswith(message)


def test_a_file_that_was_named_must_be_there_and_readable(tmp_path: Path) -> None:
    assert mistakes(tmp_path, environ={"JOBQUEUE_CONFIG": "x.toml"}) == [
        "JOBQUEUE_CONFIG (environment): there is no file x.toml"
    ]
    (tmp_path / "jobqueue.toml").mkdir()
    assert mistakes(tmp_path) == ["jobqueue.toml: cannot be read: Is a directory"]


def test_the_process_s_own_environment_and_directory_are_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("JOBQUEUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JOBQUEUE_PORT", "81")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobqueue.toml").write_text('db = "file"\n', encoding="utf-8")

    settings = Settings.load()

    assert (settings.port, settings.db, settings.data_dir) == (81, "file", tmp_path / "jobqueue-data")


@pytest.mark.parametrize("name", NAMES)
def test_settings_cannot_be_changed_and_show_no_secret(tmp_path: Path, name: str) -> None:
    settings = Settings.load({"admin_token": TOKEN, "mongo_url": "mongodb://u:hunter2@h"}, {}, tmp_path)

    with pytest.raises(FrozenInstanceError):
        setattr(settings, name, 1)
    assert TOKEN not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_masked_values_are_plain_and_without_secrets(tmp_path: Path) -> None:
    settings = Settings.load(
        {
            "admin_token": TOKEN,
            "mongo_url": "mongodb://u:hunter2@h/?tlsCertificateKeyFilePassword=hunter3&appName=x",
            "webhook_allow": "10.0.0.0/8",
            "webhook_ports": "8080",
        },
        {},
        tmp_path,
    )

    masked = settings.masked()

    assert list(json.loads(json.dumps(masked))) == NAMES
    assert masked["admin_token"] == "***"  # noqa: S105 - a mask
    assert masked["mongo_url"] == "mongodb://u:***@h/?tlsCertificateKeyFilePassword=***&appName=x"
    assert (masked["webhook_allow"], masked["webhook_ports"]) == (["10.0.0.0/8"], [8080])
    assert masked["data_dir"] == str(tmp_path / "jobqueue-data")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://h:27017,i:27018/?replicaSet=rs", "mongodb://h:27017,i:27018/?replicaSet=rs"),
        ("mongodb://u@h:27017/", "mongodb://u@h:27017/"),
        ("mongodb://u:@h/", "mongodb://u:***@h/"),
        ("mongodb://u:p@ss:w/o?rd@h/db", "mongodb://u:***@h/db"),
        ("mongodb://u@corp:p@h", "mongodb://u@corp:***@h"),
        (
            "mongodb+srv://h/?AUTHMECHANISMPROPERTIES=AWS_SESSION_TOKEN:t;w=majority",
            "mongodb+srv://h/?AUTHMECHANISMPROPERTIES=***;w=majority",
        ),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_every_field_is_described_once() -> None:
    rows = describe()

    assert [each.name for each in fields(Settings) if each.name != "sources"] == NAMES
    assert all(row.env == f"JOBQUEUE_{row.name.upper()}" and row.help and not row.help.endswith(".") for row in rows)
    assert {row.name: row.default for row in rows}["data_dir"] == "./jobqueue-data"
    assert {row.name: row.default for row in rows}["webhook_allow"] == "none"


def test_importing_settings_imports_nothing_heavy() -> None:
    code = "import sys, jobqueue.settings; print([m for m in ('marshmallow', 'asyncio') if m in sys.modules])"

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
