"""A long history as ``scripts/generate`` makes it: plans of listings, and the README's section about it."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from bson import json_util
from pymongo import MongoClient

from jobqueue.domain.attempts.states import State
from jobqueue.domain.search import fields, filters, pipelines, values
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.search.search import Search, search
from jobqueue.services.insight import search as service
from jobqueue.store import indexes
from jobqueue.store.indexes import DECLARED
from jobqueue.store.mongo.database import Database
from jobqueue.store.search import aggregates
from jobqueue.store.search import search as store
from tests.support.docs.readme import ROOT, names, table
from tests.support.mongo.plans import explain, listing, stages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

COUNT = 6000
OWNER = "7"
BATCH = f"{2:024x}"
SECTION: Final = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
QUERIES: Final = re.search(r"^```js\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
CALL: Final = re.compile(r"db\.(\w+)\.(find|aggregate)\((.*?)\)((?:\.(?:sort|limit)\([^()]*\))*)")


@pytest.fixture(scope="module")
def history(mongo_url: str) -> Iterator[str]:
    """Give the name of a database with a long history."""
    name = f"test_{secrets.token_hex(6)}"
    program = "scripts/programs/generate.py"
    words = [sys.executable, program, "--mongo-url", mongo_url, "--db", name, "--jobs", str(COUNT)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(done.stdout)["jobs"] == COUNT
    yield name
    with MongoClient[dict[str, Any]](mongo_url) as client:
        client.drop_database(name)


@pytest.fixture
async def database(mongo_url: str, history: str) -> AsyncIterator[Database]:
    opened = await Database.connect(mongo_url, history, prepare=indexes.ensure)
    try:
        yield opened
    finally:
        await opened.close()


async def test_the_newest_fifty_are_found_by_as_many_keys(database: Database) -> None:
    jobs = database.collection("jobs")
    assert await jobs.count_documents({"meta.user_id": int(OWNER)}) == COUNT // 10
    wanted: list[Search] = [
        search({"meta.user_id": int(OWNER)}),
        search({"state": "failed"}),
        search({"type": "type3"}),
        search({"batchId": BATCH}),
        search({"queue": "media", "type": "type3"}),
        search({"queue": "media"}),
        search({"queue": "media", "state": {"$in": ["success", "failed"]}}),
        search({}),
        search({"insertAt": {"$lt": "2035-01-01"}, "meta.user_id": {"$in": [int(OWNER), 105]}}),
        search({"$or": [{"meta.user_id": int(OWNER)}, {"meta.city": "c5"}]}),
        search({"queue": "media", "type": "type3"}, sort={"insertAt": 1}),
        JobQuery(meta=(("user_id", OWNER),)).search(),
        JobQuery(states=(State.FAILED,)).search(),
        JobQuery(queue="media", type="type3").search(),
        JobQuery(batch_id=BATCH).search(),
    ]
    for one in wanted:
        await explain(database, listing(one), keys=60)


def read(text: str) -> Any:
    """Return a value in the language of mongosh, as far as the README uses it."""
    text = re.sub(r'ObjectId\("(\w+)"\)', r'{"$oid": "\1"}', text)
    text = re.sub(r'ISODate\("([^"]+)"\)', r'{"$date": "\1"}', text)
    text = re.sub(r"([{,]\s*)([$A-Za-z_]\w*):", r'\1"\2":', text)
    return json_util.loads(text, json_options=json_util.JSONOptions(tz_aware=True))


def queries() -> list[tuple[str, str, list[Any], dict[str, Any]]]:
    """Return the README's queries: collection, method, arguments, and what is appended."""
    assert QUERIES is not None
    found = []
    for line in QUERIES[1].splitlines():
        match = CALL.fullmatch(line)
        assert match, line
        more = {name: read(value) for name, value in re.findall(r"\.(sort|limit)\(([^()]*)\)", match[4])}
        found.append((match[1], match[2], read(f"[{match[3]}]"), more))
    return found


def winning(plan: Any) -> Iterator[Any]:
    """Yield the plans that are carried out, wherever they are in an explanation."""
    for name, inner in plan.items() if isinstance(plan, dict) else enumerate(plan) if isinstance(plan, list) else ():
        if name == "winningPlan":
            yield inner
        else:
            yield from winning(inner)


async def test_the_queries_of_the_readme_run_and_are_served_by_indexes(database: Database) -> None:
    asked = queries()
    assert len(asked) >= 10
    for collection, method, arguments, more in asked:
        if method == "find":
            shown = {"projection": arguments[1]} if len(arguments) > 1 else {}
            command = {"find": collection, "filter": arguments[0], **shown, **more}
        else:
            command = {"aggregate": collection, "pipeline": arguments[0], "cursor": {}}
        await database.raw.command(command)
        plan = await database.raw.command("explain", command, verbosity="queryPlanner")
        used = set(stages(list(winning(plan))))
        assert used & {"IXSCAN", "EOF"}, command
        assert not used & {"COLLSCAN", "SORT"}, command


def test_every_collection_and_index_is_in_the_readme() -> None:
    literal = r'collection\("(\w+)"\)'
    constant = r'^_\w+: Final = "(\w+)"\n"""The stored name of the collection'
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "jobqueue" / "store").rglob("*.py")]
    used = {name for text in texts for way in (literal, constant) for name in re.findall(way, text, re.MULTILINE)}
    used |= {index.collection for index in DECLARED}
    assert sorted(names(name)[0] for name, _ in table("collections")) == sorted(used)
    shown = {names(name)[0]: names(keys)[0] for name, keys, _ in table("indexes")}
    assert shown == {
        f"{index.collection}.{index.name}": ", ".join(f"-{key}" if way < 0 else key for key, way in index.keys)
        for index in DECLARED
    }


def test_the_limits_in_the_readme_are_those_of_the_code() -> None:
    words = " ".join(SECTION.split())
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", SECTION, re.MULTILINE))
    assert (rows["levels"], rows["comparisons"], rows["branches"], rows["values of an `$in`"]) == tuple(
        str(most) for most in (filters.DEEPEST, filters.MOST_NODES, filters.MOST_BRANCHES, filters.MOST_VALUES)
    )
    assert rows["length of a regular expression"].startswith(f"{values.LONGEST_PATTERN} characters")
    assert f"More than {store.MOST_READ:,} of them" in words
    assert rows["any"] == f"{store.TIME_LIMIT:g} seconds"
    assert f"`--slow` | {store.SLOW_LIMIT:g} seconds | {service.SLOW_AT_ONCE} of these {service.AT_ONCE} |" in words
    assert f"waits for {('zero', 'one', 'two')[int(service.WAIT_SECONDS)]} seconds" in words
    assert f"at most {pipelines.MOST_STAGES} stages" in words
    assert f"{aggregates.MOST_ROWS:,} rows" in words
    sentence = words.partition("`sort` takes one of ")[2].partition(".")[0]
    assert set(names(sentence)) == fields.SORTS
