from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import common

from jobqueue.domain.errors import SettingsError
from jobqueue.settings import Settings, mongo_url

if TYPE_CHECKING:
    from pathlib import Path

UNSAFE = "but jobqueue needs majority writes: remove it"
NO_HOST = "does not begin with mongodb:// or mongodb+srv:// and a host"
ESCAPES = "within a user name or a password write @ as %40, : as %3A, / as %2F, ? as %3F and % as %25"
NOT_FOR_URLS = {"driver", "server_api", "fsync"}


def test_every_option_of_the_driver_is_known() -> None:
    known = set(common.URI_OPTIONS_VALIDATOR_MAP) | set(common.NONSPEC_OPTIONS_VALIDATOR_MAP)

    assert known - NOT_FOR_URLS - set(mongo_url.KNOWN) == set()
    assert set(mongo_url.KNOWN) >= mongo_url.OVERRIDDEN | mongo_url.OF_MAIN_POOL


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://h",
        "mongodb://h?tls=true",
        "mongodb://a:1,b:65535,[::1]:27017,[fe80::1%25eth0]/db?replicaSet=rs0",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock/",
        "mongodb+srv://u:p%40s%3As@cluster.example.net/?retryWrites=true&w=majority&appName=a@b",
        "mongodb://u@h/admin?authSource=$external&authMechanism=MONGODB-X509",
        "mongodb://u:@h/;",
        "mongodb://h/?w=2;journal=true",
        "mongodb://h/?W=tag&readPreference=secondary&maxStalenessSeconds=90&wtimeout=5&j=true&timeoutMS=100",
    ],
)
def test_a_url_that_can_be_used_has_no_mistakes(url: str) -> None:
    assert mongo_url.mistakes(url.rstrip(";")) == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://h", [NO_HOST]),
        ("mongodb:///db", [NO_HOST]),
        ("mongodb+srv://a,b/", ["begins with mongodb+srv://, after which one host is due, without a port"]),
        ("mongodb+srv://a:1/", ["begins with mongodb+srv://, after which one host is due, without a port"]),
        ("mongodb://h:0", [f"has a host or a port that cannot be read; {ESCAPES}"]),
        ("mongodb://h,:1", [f"has a host or a port that cannot be read; {ESCAPES}"]),
        ("mongodb://h:port", [f"has a host or a port that cannot be read; {ESCAPES}"]),
        ("mongodb://h/a/b", [f"has a path that is not the name of a database; {ESCAPES}"]),
        ("mongodb://h/?w=2&tls=true;ssl=true", ["separates options both by & and by ;: use only one of them"]),
        ("mongodb://h/?w=0&w=1", [f"sets w=0, {UNSAFE}", f"sets w=1, {UNSAFE}"]),
        ("mongodb://h/?tlss=true", ["has an unknown option tlss; did you mean tls?"]),
        ("mongodb://h/?retryWrite=false", ["has an unknown option retryWrite; did you mean retryWrites?"]),
        ("mongodb://h/?zzz=1&fsync=true", ["has an unknown option zzz", "has an unknown option fsync"]),
        ("mongodb://h/?tls=yes", ["sets tls to neither true nor false"]),
        ("mongodb://h/?timeoutMS=50", ["sets timeoutMS to what is not a whole number of at least 100"]),
        ("mongodb://h/?maxPoolSize=ten", ["sets maxPoolSize to what is not a whole number of at least 0"]),
        ("mongodb://h/?replicaSet=&appName", ["sets replicaSet to nothing", "sets appName to nothing"]),
        (
            "mongodb://u:p p@h:x/?w=1&retryReads=1&j=false",
            [
                "has a space or a control character: write it as %20 and the like",
                f"has a host or a port that cannot be read; {ESCAPES}",
                f"sets w=1, {UNSAFE}",
                "sets retryReads to neither true nor false",
                f"sets j=false, {UNSAFE}",
            ],
        ),
    ],
)
def test_every_mistake_of_a_url_is_found(url: str, found: list[str]) -> None:
    assert mongo_url.mistakes(url) == found


def test_mistakes_of_a_url_come_together_with_those_of_other_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"mongo_url": "mongodb://h/a$b?w=1&tlss=1", "port": "x"}, {"JOBQUEUE_HOST": "a b"}, tmp_path)

    assert caught.value.mistakes == [
        'JOBQUEUE_HOST (environment): "a b" is not a host name or an IP address',
        f"--mongo-url (flag): sets w=1, {UNSAFE}",
        "--mongo-url (flag): has an unknown option tlss; did you mean tls?",
        '--port (flag): "x" is not a whole number',
        'database in the path of --mongo-url (flag): "a$b" may have up to 63 letters, digits, - and _',
    ]


SECRETS = [
    "hunter2",
    "hun/ter2",
    "hun?ter2",
    "hun@ter2",
    "hun:ter2",
    "hun%ter2",
    "12/hunter2",
    "12?hunter2=1",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("rest", ["h/?w=1", "h:x/a/b?zzz=1", "", "h/a$b?tls=x"])
def test_no_mistake_shows_the_password(tmp_path: Path, secret: str, rest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"mongo_url": f"mongodb://user:{secret}@{rest}"}, {}, tmp_path)

    assert "ter2" not in str(caught.value)


@given(st.text(), st.text(), st.text())
def test_any_text_is_judged(user: str, host: str, rest: str) -> None:
    url = f"mongodb://{user}@{host}/{rest}"

    assert all(isinstance(one, str) for one in mongo_url.mistakes(url))
    mongo_url.database(url)
    assert mongo_url.without(url, frozenset()).replace(";", "&").count("=") <= url.count("=")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://h/mine", "mine"),
        ("mongodb://h/mine?w=2", "mine"),
        ("mongodb+srv://u:p@h/my%2Djobs", "my-jobs"),
        ("mongodb://h/mine.collection", "mine"),
        *(
            (f"mongodb://h{rest}", None)
            for rest in ("", "/", "/?tls=true", "/admin", "/local?w=2", "/config", "/$external")
        ),
    ],
)
def test_the_path_of_the_url_names_the_database(tmp_path: Path, url: str, name: str | None) -> None:
    assert mongo_url.database(url) == name
    settings = Settings.load({"mongo_url": url}, {}, tmp_path)
    assert settings.db == (name or "jobqueue")
    assert settings.sources["db"] == ("mongo_url, flag" if name else "default")
    for layer in ({"JOBQUEUE_DB": "other"}, {"JOBQUEUE_MONGO_URL": "mongodb://h/another", "JOBQUEUE_DB": "other"}):
        assert Settings.load({"mongo_url": url}, layer, tmp_path).db == "other"


def test_options_are_taken_out_of_a_url() -> None:
    url = "mongodb://u:p@h/db?readPreference=secondary&maxStalenessSeconds=90&tls=true"

    assert mongo_url.without(url, mongo_url.OVERRIDDEN) == "mongodb://u:p@h/db?tls=true"
    assert mongo_url.without(url, {*mongo_url.OVERRIDDEN, "tls"}) == "mongodb://u:p@h/db"


def test_a_message_of_the_driver_does_not_show_the_password() -> None:
    url = "mongodb://u:hunter%2f2@h/"

    assert mongo_url.without_password("no hunter/2 and no hunter%2f2", url) == "no *** and no ***"
    assert mongo_url.without_password("nothing", "mongodb://h/") == "nothing"
