"""Import a CSV file: validate it, split it, import the parts side by side, and report. See README.md.

jobqueue worker importer:queue
"""

import csv
import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import shop

from jobqueue import ActiveJob, BlockingJob, Die, JobQueue

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
COLUMNS = ["sku", "category", "quantity"]


@dataclass
class Part:
    """Some whole rows of a file: two offsets in bytes, and the number of the first row."""

    start: int
    end: int
    first: int


@dataclass
class BadRow:
    number: int
    row: list[str]
    reason: str


@dataclass
class Rows:
    good: list[shop.Row]
    bad: list[BadRow]


@dataclass
class Imported:
    good: int
    bad: list[BadRow]


@dataclass
class Report:
    imported: int
    bad: int
    first_reasons: list[str]


@queue.task("csv.import", queue="csv")
async def import_file(job: ActiveJob, path: str, rows: int = 1000) -> Report:
    delivery = await job.step("validate", validate, path)
    parts = await job.step("split", split, path, rows)
    # The import holds no slot meanwhile. With "hold" it waits until a person has requeued a part that failed.
    items = [{"path": path, "delivery": delivery, "part": asdict(part)} for part in parts]
    results = await job.map("parts", "csv.part", items, queue="csv-parts", failures="hold")
    return await job.step("report", report, path, [import_part.decode(result) for result in results])


@queue.task("csv.part", queue="csv-parts")
def import_part(job: BlockingJob, path: str, delivery: str, part: Part) -> Imported:
    rows = job.step("read", read, path, part)
    job.step("write", shop.receive, delivery, rows.good)
    return Imported(len(rows.good), rows.bad)


def validate(path: str) -> str:
    """Refuse a file that cannot be imported; return a name of its contents."""
    try:
        content = Path(path).read_bytes()
        header = next(csv.reader(io.StringIO(content.decode("utf-8"))), [])
    except (OSError, UnicodeDecodeError) as error:
        raise Die(error) from error
    if header != COLUMNS:
        raise Die(f"the columns are {header}, not {COLUMNS}")
    return hashlib.sha256(content).hexdigest()


def split(path: str, rows: int) -> list[Part]:
    """Return parts of some rows each. A row may have line breaks between quotes."""
    parts: list[Part] = []
    with Path(path).open("rb") as file:
        start = end = len(file.readline())
        first = number = 1
        quotes = 0
        for line in file:
            end += len(line)
            quotes += line.count(b'"')
            number += quotes % 2 == 0
            if number - first == rows and quotes % 2 == 0:
                parts.append(Part(start, end, first))
                start, first = end, number
    if end > start:
        parts.append(Part(start, end, first))
    return parts


def read(path: str, part: Part) -> Rows:
    """Check the rows of a part: bad ones are no failure."""
    with Path(path).open("rb") as file:
        file.seek(part.start)
        text = file.read(part.end - part.start).decode("utf-8")
    rows = Rows([], [])
    for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), part.first):
        try:
            sku, category, quantity = row
            if not sku:
                raise ValueError("there is no sku")
            rows.good.append(shop.Row(number, sku, category, int(quantity)))
        except ValueError as error:
            rows.bad.append(BadRow(number, row, str(error)))
    return rows


def report(path: str, parts: list[Imported]) -> Report:
    """Write the bad rows beside the file. A second run writes the same."""
    bad = [row for part in parts for row in part.bad]
    written = Path(f"{path}.bad.csv.new")
    with written.open("w", newline="") as file:
        csv.writer(file).writerows([row.number, row.reason, *row.row] for row in bad)
    written.replace(f"{path}.bad.csv")
    return Report(sum(part.good for part in parts), len(bad), [f"row {row.number}: {row.reason}" for row in bad[:10]])
