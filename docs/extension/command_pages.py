"""The commands with all their arguments and options, from their parsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from docs.extension.markdown import block, code, table
from jobqueue.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS: Final = re.compile(r"([\\`*_\[\]<>{}$])")


def commands() -> str:
    """Return all commands, and the commands below them."""
    context = click.Context(cli, info_name="jobqueue")
    return "\n\n".join(part for name, command in _below(cli, context) for part in _parts(name, command, context))


def _below(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            yield name, command


def _parts(name: str, command: click.Command, above: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=above)
    path = context.command_path.removeprefix("jobqueue ")
    level = "##" if " " not in path else "###"
    yield f"(command-{path.replace(' ', '-')})=\n{level} {code(path)}"
    yield _text(command)
    usage = [*command.collect_usage_pieces(context)]
    yield block("text", " ".join([context.command_path, *usage]))
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]
    if rows := [_option(one, context) for one in options if not one.hidden]:
        yield table(["option", ""], rows)
    if examples := _examples(command, context):
        yield block("console", examples)
    if isinstance(command, click.Group):
        for below, inner in _below(command, context):
            yield from _parts(below, inner, context)


def _text(command: click.Command) -> str:
    paragraphs = re.split(r"\n\s*\n", (command.help or "").replace("\b\n", "").partition("\f")[0].strip())
    return "\n\n".join(_escaped(" ".join(part.split())) for part in paragraphs)


def _option(option: click.Option, context: click.Context) -> list[str]:
    record = option.get_help_record(context)
    names, text = record if record is not None else (", ".join(option.opts), option.help or "")
    return [code(names), _escaped(" ".join(text.split()))]


def _examples(command: click.Command, context: click.Context) -> str:
    lines = (command.epilog or "").replace("\b", "").splitlines()
    program = context.find_root().info_name or ""
    return "\n".join(f"$ {line.strip()}" for line in lines if line.strip().startswith(f"{program} "))


def _escaped(text: str) -> str:
    """Keep Markdown from reading marks of a text for people at a terminal; code stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _MARKS.sub(r"\\\1", text)
    return "`".join(part if place % 2 else _MARKS.sub(r"\\\1", part) for place, part in enumerate(parts))
