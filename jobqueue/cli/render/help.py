"""Help of commands: first what is their own, then the options that all commands share."""

from __future__ import annotations

from typing import Any, Final

import click

CONNECTION: Final = "Database options"
"""The section of the options that say which database a command is for."""
_WIDEST: Final = 10_000


class SharedOption(click.Option):
    """An option that many commands have; their help lists it in a section at its end."""

    def __init__(self, *names: Any, section: str = CONNECTION, **options: Any) -> None:
        super().__init__(*names, **options)
        self.section = section


class _Sections(click.Command):
    """A command whose help has sections of options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, its commands, and the options that it shares with others."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        _write(formatter, "Options", sections.pop("Options"))
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        for title, records in sections.items():
            _write(formatter, title, records)


class Command(_Sections):
    """A command."""


class Group(_Sections, click.Group):
    """A command with commands below it."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their whole summaries."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, command.get_short_help_str(_WIDEST)) for name, command in commands.items() if command]
        _write(formatter, "Commands", rows)


def _write(formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)
