"""Find the command, run it, and turn errors into a line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from jobqueue.cli.render import errors, output
from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import Sequence


_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})

_TRACE: Final = "TRACEPARENT"
_SERVICES: Final = frozenset({"serve", "worker"})


class Entry(NamedTuple):
    """A command of the overview; the target is its module and the name in it."""

    target: str
    summary: str


COMMANDS: Final = {
    "serve": Entry("jobqueue.cli.running.serve:serve", "Serve the HTTP API, and run webhooks and maintenance."),
    "worker": Entry("jobqueue.cli.running.worker:worker", "Run the Python handlers of a JobQueue object."),
    "add": Entry("jobqueue.cli.jobs.add:add", "Add a job, or many."),
    "status": Entry("jobqueue.cli.insight.status:status", "Print only what needs somebody, and what mends it."),
    "list": Entry("jobqueue.cli.jobs.listing:list_jobs", "List jobs, newest first."),
    "search": Entry("jobqueue.cli.jobs.search:search_jobs", "Find jobs by a filter."),
    "export": Entry("jobqueue.cli.jobs.export:export", "Write the jobs of a search as a file."),
    "show": Entry("jobqueue.cli.jobs.show:show", "Show one job."),
    "logs": Entry("jobqueue.cli.jobs.logs:logs", "Print the log of a job, and follow it until the job ends."),
    "failures": Entry("jobqueue.cli.bulk.failures:failures", "List failures in groups, compare and requeue a group."),
    "requeue": Entry("jobqueue.cli.jobs.requeue_kill:requeue", "Requeue ended or delayed jobs."),
    "kill": Entry("jobqueue.cli.jobs.requeue_kill:kill", "Kill unfinished jobs."),
    "erase": Entry("jobqueue.cli.bulk.erase:erase", "Erase the contents of all ended jobs of a person."),
    "operations": Entry("jobqueue.cli.bulk.operations:operations", "List, show, stop and resume changes of many jobs."),
    "batch": Entry("jobqueue.cli.workflow.batch:batch", "Show, wait for, requeue, seal and kill batches."),
    "steps": Entry("jobqueue.cli.steps.listing:steps", "List the steps of a job."),
    "step": Entry("jobqueue.cli.steps.running:step", "Run a command as a step of the job, in a script of a job."),
    "sleep": Entry("jobqueue.cli.steps.running:sleep", "Suspend the job, in a script of a job."),
    "wait": Entry("jobqueue.cli.steps.running:wait", "Wait for a signal, in a script of a job."),
    "call": Entry("jobqueue.cli.steps.running:call", "Run and await other jobs, in a script of a job."),
    "signal": Entry("jobqueue.cli.steps.signalling:signal", "Send a signal to a job."),
    "decide": Entry("jobqueue.cli.steps.deciding:decide", "Say whether a step in doubt has happened."),
    "why": Entry("jobqueue.cli.jobs.why:why", "Print why a job, or a queue, is not running."),
    "bundle": Entry("jobqueue.cli.jobs.bundle:bundle", "Write one file with all that is known of a job."),
    "replay": Entry("jobqueue.cli.replay.replay:replay", "Run the handler of a bundle here, without a database."),
    "workers": Entry("jobqueue.cli.work.workers:workers", "List workers, and the jobs that they run."),
    "drain": Entry("jobqueue.cli.work.drain:drain", "Drain a worker: it finishes what it runs, and leaves."),
    "types": Entry("jobqueue.cli.work.types:types", "List the types of jobs that are served, with their arguments."),
    "queues": Entry("jobqueue.cli.queues.queues:queues", "List queues with their jobs and limits."),
    "queue": Entry("jobqueue.cli.queues.queue:queue", "Show, configure, pause, resume and delete queues."),
    "apply": Entry("jobqueue.cli.queues.apply:apply_files", "Configure queues and schedules as files say."),
    "stats": Entry("jobqueue.cli.insight.stats:stats", "Show jobs by state, throughput and times."),
    "schedule": Entry(
        "jobqueue.cli.schedules.schedule:schedule", "List, show, set, run, pause, resume and delete schedules."
    ),
    "alerts": Entry("jobqueue.cli.alerts.alerts:alerts", "List, show, set, mute, test and delete alerts."),
    "token": Entry("jobqueue.cli.access.token:token", "Make, list and revoke tokens of the HTTP API."),
    "audit": Entry("jobqueue.cli.insight.audit:audit", "List changes made by people."),
    "settings": Entry("jobqueue.cli.checks.settings:settings", "Show every setting, its value and its source."),
    "health": Entry("jobqueue.cli.checks.health:health", "Check the health of the server on this machine."),
    "doctor": Entry("jobqueue.cli.checks.doctor:doctor", "Check settings and MongoDB, and print remedies."),
    "completion": Entry("jobqueue.cli.process.completion:completion", "Complete commands in bash, zsh or fish."),
    "demo": Entry("jobqueue.cli.demo.demo:demo", "Run a demonstration with real jobs."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is asked for, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the overview."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name; an unknown one may be a typing error."""
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview, without importing any command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    epilog=errors.epilog("serve", "worker app:queue", 'add thumbnail \'{"src": "a.png"}\''),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="jobqueue", message="%(prog)s %(version)s")
def cli() -> None:
    """A job queue on MongoDB for important, multi-stage jobs that often fail.

    Commands that need the database take --mongo-url and --db, or JOBQUEUE_MONGO_URL and JOBQUEUE_DB, or
    jobqueue.toml; without a MongoDB URL they use an embedded MongoDB, started if need be. Data goes to stdout,
    everything else to stderr.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the arguments, else those of the process.

    Returns:
        The exit code, one of `exits`.
    """
    errors.use_json(sys.argv[1:] if args is None else args)
    _join_trace(sys.argv[1:] if args is None else args)
    try:
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        output.mute(sys.stdout)
        return errors.ERROR
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        # Buffered output would fail again when the interpreter ends.
        output.mute(sys.stdout)
        with contextlib.suppress(OSError):
            click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        return errors.ERROR
    return code


def _join_trace(args: Sequence[str]) -> None:
    """Go on with the trace of the program that calls this one, such as a command of a job; services have none."""
    if _TRACE in os.environ and _SERVICES.isdisjoint(args):
        from jobqueue import tracing  # noqa: PLC0415 - few calls need this

        tracing.of_environment(os.environ)


def _run(args: Sequence[str] | None) -> int:
    try:
        returned: Any = cli.main(args=args, prog_name="jobqueue", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return errors.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return errors.USAGE
    except click.ClickException as error:
        return errors.report_usage(error)
    except JobQueueError as error:
        return errors.report(error)
    return returned if isinstance(returned, int) else errors.OK
