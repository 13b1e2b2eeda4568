"""A failure comes home: a bundle without secrets, and its handler on a machine without a database."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.main import main
from jobqueue.cli.render import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobqueue.settings import Settings
    from jobqueue.testing import QueueForTests

SHOP = """
import os
from pathlib import Path

from jobqueue import ActiveJob, JobQueue

queue = JobQueue()
BALANCE = 5


def ran(name, result=None):
    with Path(__file__).with_name("effects").open("a") as effects:
        effects.write(name + "\\n")
    return result


def pay(price):
    ran("pay")
    left = BALANCE
    if price > left:
        raise ValueError(f"the account has {left} of {price} only")
    return "paid"


@queue.handler("order", queue="shop")
async def order(job: ActiveJob) -> str:
    await job.step("fetch", ran, "fetch", "x" * 20_000)
    await job.sleep("rest", 3600)
    await job.log(f"login with {job.data['password']}; SMTP_PASSWORD=planted-in-the-log")
    await job.log(os.environ.get("PLANTED", ""))
    session = await job.step("login", ran, "login", {"accessToken": "planted-in-a-step", "user": "ann"})
    approved = await job.signal("approved")
    await job.step("reserve", ran, "reserve", [session["user"], approved["by"]])
    return await job.step("pay", pay, job.data["price"])
"""
PLANTED = {
    "data": {"price": 7, "password": "planted-in-data", "card": {"number": "planted-as-card"}, "note": "for ann"},
    "meta": {"user_id": 42, "email": "planted@example.com", "apiKey": "planted-in-meta"},
}
HOOK = {
    "kind": "webhook",
    "url": "https://example.com/hook?key=planted-in-the-url",
    "secret": "whsec_cGxhbnRlZC1hcy13ZWJob29rLXNlY3JldA==",
    "headers": {"X-Shop": "planted-in-a-header"},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory with the program, which no other test has imported."""
    (tmp_path / "shop_at_home.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("shop_at_home", None)
    return tmp_path


@pytest.fixture
def bundled(home: Path, jobqueue_test: QueueForTests, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Give a function that runs an order until its fourth step fails, and writes its bundle."""
    monkeypatch.setenv("PLANTED", "Authorization: Bearer planted-in-the-environment")
    from shop_at_home import queue  # type: ignore[import-not-found]  # noqa: PLC0415 - made by the fixture

    async def fail() -> str:
        jobqueue_test.use(queue)
        await jobqueue_test.configure("shop", processors={"other": HOOK})
        job = await queue.add("order", queue="shop", attempts=1, **PLANTED)
        await jobqueue_test.signal(job, "approved", {"by": "bob", "token": "planted-in-a-signal"})
        await jobqueue_test.drain(raises=False)
        return str(job.id)

    job_id, settings = jobqueue_test.run(fail()), jobqueue_test.settle_for({})
    jobqueue_test.finish()
    (home / "effects").unlink()

    def write(*words: str) -> Path:
        path = home / "order.json"
        assert main(["bundle", job_id, "-o", str(path), *database(settings), *words]) == errors.OK
        # From here on there is no database.
        monkeypatch.setenv("JOBQUEUE_MONGO_URL", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=1")
        return path

    return write


def database(settings: Settings) -> list[str]:
    return ["--mongo-url", str(settings.mongo_url), "--db", settings.db]


def effects(home: Path) -> list[str]:
    path = home / "effects"
    return path.read_text().split() if path.exists() else []


def test_a_failure_comes_home(
    home: Path, bundled: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundled("--redact", "data.card", "--redact", "meta.email", "--redact", "data.crad")
    told = capsys.readouterr()
    assert "there is nothing at data.crad" in told.err
    content = path.read_text()
    assert "planted" not in content
    assert "whsec_" not in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bundle = json.loads(content)
    places = {place["path"]: place["why"] for place in bundle["redacted"]}
    assert places["job.data.card"] == "chosen"
    assert places["job.data.password"] == "named like a secret"
    assert places["logs.0.m"] != ""
    assert bundle["results"]["fetch"] == "x" * 20_000
    assert bundle["queue"]["processors"]["other"]["url"] == "https://example.com/hook?********"
    assert len(bundle["queue"]["revision"]) == 16

    # Only the fourth step runs, and fails as it did.
    assert main(["replay", str(path), "shop_at_home:queue"]) == errors.JOB_FAILED
    assert effects(home) == ["pay"]
    told = capsys.readouterr()
    for line in (
        "taken     fetch, rest, login, approved, reserve",
        "step      fetch taken from the bundle",
        "step      approved taken from the bundle",
        "step      pay runs here",
        "step      pay failed after ",
        "outcome   fails: ValueError in step pay: the account has 5 of 7 only (attempt 1 of 1",
        f"compared  the same error as in the bundle, fingerprint {bundle['fingerprint']}",
    ):
        assert line in told.out
    assert "SMTP_PASSWORD=planted" in told.out

    # A mended input, and steps from a certain one on.
    assert main(["replay", str(path), "shop_at_home:queue", "--data-patch", '{"price": 3}', "--json"]) == errors.OK
    end = json.loads(capsys.readouterr().out)
    assert (end["outcome"], end["result"], end["same"]) == ("success", "paid", False)
    (home / "effects").unlink()
    assert main(["replay", str(path), "shop_at_home:queue", "--from-step", "reserve"]) == errors.JOB_FAILED
    assert effects(home) == ["reserve", "pay"]
    assert main(["replay", str(path), "shop_at_home:queue", "--attempt", "2"]) == errors.USAGE
    assert "the bundle has no attempt 2; it has 1" in capsys.readouterr().err

    # The debugger stands where the error was raised.
    (home / "words").write_text("p left, price\nq\n")
    with (home / "words").open() as words:
        monkeypatch.setattr(sys, "stdin", words)
        assert main(["replay", str(path), "shop_at_home:queue", "--debug"]) == errors.JOB_FAILED
    assert "(5, 7)" in capsys.readouterr().out
    assert os.environ["JOBQUEUE_MONGO_URL"].startswith("mongodb://127.0.0.1:9/")


def test_another_error_than_in_the_bundle_is_told(
    home: Path, bundled: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundled()
    import shop_at_home  # noqa: PLC0415 - as above

    shop_at_home.BALANCE = None
    assert main(["replay", str(path), "shop_at_home:queue"]) == errors.OTHER_END
    told: Any = capsys.readouterr().out
    assert "compared  not the error of the bundle" in told
    assert effects(home) == ["pay"]
