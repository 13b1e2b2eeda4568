"""Arguments of tasks: any declared type comes back from JSON, and what does not fit is named by its path."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence  # noqa: TC003 - annotations of tasks are read at run time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attr
import msgspec
import pydantic
import pytest
from bson import ObjectId

from jobqueue import InvalidInputError, ResultUnavailableError
from jobqueue.domain.values import payload
from jobqueue.processors.callbacks.signatures import TaskSignature
from jobqueue.processors.callbacks.step_types import Codec

MOMENT = datetime(2030, 1, 31, 13, tzinfo=UTC)
SOME_ID = ObjectId("6b06105097b133d05ea55fc5")


class Kind(enum.StrEnum):
    GOOD = "good"
    BAD = "bad"


class Level(enum.Enum):
    LOW = 1


@dataclasses.dataclass
class Box:
    width: int
    height: int = 2


class Named(TypedDict):
    name: str


class Pair(NamedTuple):
    left: int
    right: str


@attr.define
class Point:
    x: int


class Record(msgspec.Struct):
    n: int


class Inner(pydantic.BaseModel):
    at: datetime
    who: UUID


class Invoice(pydantic.BaseModel):
    number: int = pydantic.Field(alias="invoiceNumber")
    inner: Inner | None = None


class Text(str):
    __slots__ = ()


def many(
    *,
    text: str = "",
    number: float = 0,
    flag: bool = False,
    box: Box | None = None,
    boxes: list[Box] = [],  # noqa: B006 - never changed
    by_name: dict[str, Box] = {},  # noqa: B006 - as above
    by_number: dict[int, str] = {},  # noqa: B006 - as above
    named: Named | None = None,
    pair: Pair = Pair(0, ""),  # noqa: B008 - as above
    point: Point | None = None,
    record: Record | None = None,
    kind: Kind = Kind.GOOD,
    level: Level = Level.LOW,
    choice: Literal["a", "b"] = "a",
    at: datetime | None = None,
    day: date | None = None,
    while_: timedelta | None = None,
    price: Decimal | None = None,
    uuid: UUID | None = None,
    raw: bytes = b"",
    who: ObjectId | None = None,
    invoice: Invoice | None = None,
    either: int | str | Box = 0,
    numbers: set[int] = frozenset(),  # type: ignore[assignment]
    items: Sequence[int] = (),
    fields: Mapping[str, int] = {},
    anything: Any = None,
    thing: object = None,
    small: Annotated[int, msgspec.Meta(le=5)] = 0,
) -> Box:
    raise NotImplementedError


MANY = TaskSignature(many, "many")


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("text", "a", "a"),
        ("text", Text("a"), "a"),
        ("number", 1.5, 1.5),
        ("number", 3, 3),
        ("flag", True, True),
        ("box", Box(3), {"width": 3, "height": 2}),
        ("box", None, None),
        ("boxes", [Box(1), Box(2)], [{"width": 1, "height": 2}, {"width": 2, "height": 2}]),
        ("by_name", {"a": Box(1)}, {"a": {"width": 1, "height": 2}}),
        ("by_number", {1: "a"}, {"1": "a"}),
        ("named", {"name": "Ann"}, {"name": "Ann"}),
        ("pair", Pair(1, "b"), (1, "b")),
        ("point", Point(4), {"x": 4}),
        ("record", Record(5), {"n": 5}),
        ("kind", Kind.BAD, "bad"),
        ("level", Level.LOW, 1),
        ("choice", "b", "b"),
        ("at", MOMENT, MOMENT),
        ("day", date(2030, 1, 31), "2030-01-31"),
        ("while_", timedelta(seconds=90), "PT90S"),
        ("price", Decimal("1.10"), "1.10"),
        ("uuid", UUID(int=7), str(UUID(int=7))),
        ("raw", b"\x00a", "AGE="),
        ("who", SOME_ID, str(SOME_ID)),
        ("either", Box(1), {"width": 1, "height": 2}),
        ("either", "text", "text"),
        ("numbers", {1}, [1]),
        ("items", [1, 2], [1, 2]),
        ("fields", {"a": 1}, {"a": 1}),
        ("anything", {"a": [1, None, MOMENT]}, {"a": [1, None, MOMENT]}),
        ("thing", [1], [1]),
        ("small", 5, 5),
    ],
)
def test_a_value_comes_back_in_its_type(name: str, value: Any, stored: Any) -> None:
    data = MANY.data(**{name: value})
    assert data == {name: stored}
    payload.check(data, "data")
    kept = data if isinstance(stored, datetime) or name == "anything" else json.loads(json.dumps(data))
    args, kwargs = MANY.call(kept)
    assert (args, kwargs[name]) == ((), value)


def test_models_of_pydantic_come_back_whatever_is_inside() -> None:
    invoice = Invoice(invoiceNumber=3, inner=Inner(at=MOMENT, who=UUID(int=7)))
    data = MANY.data(invoice=invoice)
    assert data == {"invoice": {"invoiceNumber": 3, "inner": {"at": MOMENT, "who": str(UUID(int=7))}}}
    assert MANY.call(data)[1]["invoice"] == invoice


@pytest.mark.parametrize("stored", ["2030-01-31T13:00:00Z", "2030-01-31T13:00:00.000+00:00", MOMENT])
def test_dates_are_those_of_mongodb_or_texts(stored: object) -> None:
    assert MANY.call({"at": stored})[1]["at"] == MOMENT


@pytest.mark.parametrize(
    ("data", "path", "text"),
    [
        ({"text": 1}, "data.text", "expected str, got int"),
        ({"flag": 1}, "data.flag", "expected bool, got int"),
        ({"box": {"width": "x"}}, "data.box.width", "expected int, got str"),
        ({"box": {}}, "data.box", "object missing required field width"),
        ({"boxes": [{"width": 1}, {"width": None}]}, "data.boxes.1.width", "expected int, got null"),
        ({"by_name": {"a": {"width": "x"}}}, "data.by_name.*.width", "expected int, got str"),
        ({"by_number": {"x": "a"}}, "data.by_number", "has a name of another type: expected int, got str"),
        ({"kind": "ugly"}, "data.kind", "invalid enum value 'ugly'"),
        ({"choice": "c"}, "data.choice", "invalid enum value 'c'"),
        ({"at": "yesterday"}, "data.at", "invalid RFC3339 encoded datetime"),
        ({"who": "42"}, "data.who", "InvalidId: '42' is not a valid ObjectId"),
        ({"invoice": {"invoiceNumber": "x"}}, "data.invoice", "invoiceNumber: Input should be a valid integer"),
        ({"either": 1.5}, "data.either", "expected int | str | object, got float"),
        ({"small": 6}, "data.small", "expected int <= 5"),
        ({"txt": 1}, "data.txt", "is no argument of many; did you mean text?"),
    ],
)
def test_data_that_does_not_fit_is_named_by_its_path(data: dict[str, Any], path: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        MANY.call(data)
    assert list(refused.value.problems) == [path]
    assert refused.value.problems[path][0].startswith(text)
    if "txt" not in data:
        with pytest.raises(InvalidInputError) as refused:
            MANY.data(**data)
        assert list(refused.value.problems) == [path]


def test_all_arguments_are_looked_at_and_a_stranger_is_told_of_a_few() -> None:
    with pytest.raises(InvalidInputError) as refused:
        MANY.call({"text": 1, "flag": 1})
    assert list(refused.value.problems) == ["data.text", "data.flag"]
    with pytest.raises(InvalidInputError) as refused:
        MANY.call({str(number): 1 for number in range(100_000)})
    assert len(refused.value.problems) <= 20


class Circular(list[Any]):
    pass


def test_values_that_no_job_can_have_are_named() -> None:
    circular = Circular()
    circular.append(circular)
    for value in (object(), circular, open):
        with pytest.raises(InvalidInputError, match=r"data\.anything: cannot be stored") as refused:
            MANY.data(anything=value)
        assert list(refused.value.problems) == ["data.anything"]


def work(src: str, /, width: int = 320, *, deep: bool) -> None:
    raise NotImplementedError(src, width, deep)


WORK = TaskSignature(work, "work")


def test_calls_become_data_by_name_and_data_becomes_calls() -> None:
    assert WORK.data("a", deep=True) == {"src": "a", "deep": True}
    assert WORK.data("a", 64, deep=True) == {"src": "a", "width": 64, "deep": True}
    assert WORK.call({"deep": True, "src": "a"}) == (("a", 320), {"deep": True})
    with pytest.raises(InvalidInputError, match=r"data\.src: is required; data\.deep: is required"):
        WORK.call({})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {"deep": True}, "task work: missing a required argument: 'src'"),
        (("a", 1, 2), {"deep": True}, "task work: too many positional arguments"),
        (
            ("a",),
            {"deep": True, "widht": 1},
            "task work: got an unexpected keyword argument 'widht'; did you mean width",
        ),
        (("a", 1), {"deep": True, "width": 1}, "task work: multiple values for argument 'width'"),
    ],
)
def test_a_call_that_the_function_does_not_take_is_a_type_error(args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text.replace("(", r"\(")):
        WORK.data(*args, **kwargs)


def test_results_come_back_in_the_declared_type() -> None:
    assert MANY.result({"width": 3, "height": 4}) == Box(3, 4)
    assert WORK.result(None) is None
    with pytest.raises(ResultUnavailableError, match=r"not of the type of task many: result\.width: expected int"):
        MANY.result({"width": "x"})
    with pytest.raises(ResultUnavailableError):
        WORK.result(3)


def of_job(job, n: int) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - a job without annotation
    raise NotImplementedError(job, n)


def of_text(job: str) -> None:
    raise NotImplementedError(job)


def of_blocking(it: BlockingJob, n: int) -> None:  # type: ignore[name-defined] # noqa: F821 - as a name that only type checkers know
    raise NotImplementedError(it, n)


async def of_active(it: jobqueue.ActiveJob, n: int) -> None:  # type: ignore[name-defined] # noqa: F821 - as above
    raise NotImplementedError(it, n)


def test_the_job_comes_first_or_is_left_out() -> None:
    assert [TaskSignature(function, "it").takes_job for function in (of_job, of_blocking, of_active)] == [True] * 3
    assert [TaskSignature(function, "it").takes_job for function in (of_text, work, many)] == [False] * 3
    assert TaskSignature(of_text, "it").data("a") == {"job": "a"}


async def wrong_job(job: BlockingJob) -> None:  # type: ignore[name-defined] # noqa: F821 - as above
    raise NotImplementedError(job)


def wrong_job_too(job: ActiveJob) -> None:  # type: ignore[name-defined] # noqa: F821 - as above
    raise NotImplementedError(job)


def listed(*sources: str) -> None:
    raise NotImplementedError(sources)


def named(**sources: str) -> None:
    raise NotImplementedError(sources)


def ambiguous(box: Box | Named) -> None:
    raise NotImplementedError(box)


def ambiguous_result() -> Box | Named:
    raise NotImplementedError


def generator(n: int) -> Any:
    yield n


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (wrong_job, "wrong_job is async, so its job is an ActiveJob"),
        (wrong_job_too, "is a plain function, so its job is a BlockingJob"),
        (listed, r"cannot be a task with \*sources: arguments are stored by name"),
        (named, r"cannot be a task with \*\*sources: arguments"),
        (ambiguous, "the annotation of box cannot be used: Type unions may not contain more than one"),
        (ambiguous_result, "the annotation of return cannot be used"),
        (generator, "is a generator function"),
        (MANY.__class__.data, "it is a method"),
    ],
)
def test_a_function_that_cannot_be_a_task_is_refused_at_once(function: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        TaskSignature(function, "it")


def late(box: Later) -> None:
    raise NotImplementedError(box)


def never(box: OnlyForTypeCheckers) -> None:  # type: ignore[name-defined] # noqa: F821 - that is the point
    raise NotImplementedError(box)


LATE = TaskSignature(late, "late")


@dataclasses.dataclass
class Later:
    n: int


def test_annotations_may_name_what_comes_later() -> None:
    assert LATE.call(LATE.data(Later(3))) == ((Later(3),), {})


def test_annotations_that_only_type_checkers_can_read_are_told() -> None:
    text = "the annotation of box cannot be read, because name 'OnlyForTypeCheckers' is not defined; import it outside"
    with pytest.raises(TypeError, match=text):
        TaskSignature(never, "never").data(3)


def invoice() -> Invoice:
    raise NotImplementedError


def moment() -> datetime:
    raise NotImplementedError


def test_results_of_steps_take_the_same_types() -> None:
    codec = Codec(invoice)
    value = Invoice(invoiceNumber=3)
    assert codec.decode(codec.encode(value)) == value
    assert Codec(moment).decode("2030-01-31T13:00:00Z") == MOMENT
