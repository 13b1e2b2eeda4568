"""A report each night: a schedule with a time zone, a batch with callbacks, an alert when it is late. See README.md.

jobqueue worker nightly:queue    runs schedules and jobs
python nightly.py sales          makes figures of yesterday and today
"""

import csv
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from jobqueue import ActiveJob, JobQueue, KeyConflictError, Workflow

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
ZONE = "Europe/Berlin"
REGIONS = ["north", "south", "west"]


@queue.cron("30 2 * * *", timezone=ZONE)
@queue.task("report.nightly", queue="reports")
async def nightly(job: ActiveJob) -> str:
    day = await job.step("day", yesterday)
    await job.step("start", start, day)
    return day


async def start(day: str) -> str:
    """Start the batch of a day; return its id."""
    flow = Workflow("nightly report", meta={"day": day})
    flow.add_each(figures.options(key=f"{day} {region}").new(region, day) for region in REGIONS)
    flow.on_success(report.new(day))
    flow.on_failure(tell_support.new(day))
    try:
        return (await queue.start(flow)).id
    except KeyConflictError as error:
        return f"the batch of job {error.job_id} is under way"


@queue.task("report.figures", queue="figures")
def figures(region: str, day: str) -> int:
    with Path("sales", region, f"{day}.csv").open(newline="") as file:
        return sum(int(row["cents"]) for row in csv.DictReader(file))


@queue.task("report.write", queue="reports")
async def report(job: ActiveJob, day: str) -> int:
    """Write the report of a batch that has succeeded; return its total."""
    regions = {each.data["region"]: figures.decode(each.result) for each in (await job.batch_jobs()).items}
    path = path_of(day)
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    lines = [f"{region},{cents}" for region, cents in sorted(regions.items())]
    new.write_text("\n".join(["region,cents", *lines]) + "\n")
    new.replace(path)
    return sum(regions.values())


@queue.task("report.tell", queue="reports")
def tell_support(day: str) -> None:
    """Tell support; the file stands for your mails."""
    with Path("support.txt").open("a") as mails:
        mails.write(f"figures of {day} are missing: see jobqueue failures --queue figures\n")


@queue.cron("0 6 * * *", timezone=ZONE, missed="skip")
@queue.task("report.watch", queue="reports", attempts=1)
def watch() -> str:
    """Fail if the report is late: an alert tells of it."""
    day = yesterday()
    if not path_of(day).exists():
        raise TimeoutError(f"the report of {day} is late")
    return day


def yesterday() -> str:
    return day_before(1)


def day_before(days: int) -> str:
    return (datetime.now(ZoneInfo(ZONE)) - timedelta(days=days)).date().isoformat()


def path_of(day: str) -> Path:
    return Path("reports", f"{day}.csv")


def make_sales() -> None:
    for number, region in enumerate(REGIONS, 1):
        for days in (0, 1):
            path = Path("sales", region, f"{day_before(days)}.csv")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("order,cents\n" + "".join(f"{order},{order * number}\n" for order in range(1, 11)))


if __name__ == "__main__":
    if sys.argv[1:] == ["sales"]:
        make_sales()
