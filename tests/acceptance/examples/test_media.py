"""The example of a media pipeline: a script that a server runs, with a stand-in for ffmpeg, and with ffmpeg itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.examples.place import LEASE, Place, Server, trying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.cli.cli_process import Service

_FFPROBE = """#!/bin/bash
echo measure >>journal
[[ -s ${!#} ]] || { echo "${!#}: Invalid data found" >&2; exit 1; }
echo 10.0
"""
_FFMPEG = """#!/bin/bash
target=${!#}
echo "${target##*/}" >>journal
[[ $target == *.mp4 ]] && printf 'frame=1\\nout_time_us=5000000\\nprogress=continue\\n' >&2
while [[ -e hold ]]; do sleep 0.1; done
echo made >"$target"
"""


@contextlib.asynccontextmanager
async def filming(server: Server, home: Path, *, stand_in: bool) -> AsyncIterator[Place]:
    """Copy the example into a folder, with stand-ins for ffmpeg in front of other programs."""
    programs = home / "bin"
    programs.mkdir()
    if stand_in:
        for name, text in {"ffprobe": _FFPROBE, "ffmpeg": _FFMPEG}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
    async with trying(server, home, "media") as place:
        for name in ("pipeline.sh", "commands.toml"):
            shutil.copy(place.example / name, home)
        place.cli.settings["PATH"] = os.pathsep.join(
            map(str, (programs, Path(sys.executable).parent, os.environ["PATH"]))
        )
        await place.apply(media={"lease": LEASE, "backoff": 0})
        yield place


def serve(place: Place) -> Service:
    return place.cli.start("serve", "--port", "0", "--commands", "commands.toml")


async def film(place: Place, **job: Any) -> str:
    return await place.add("media.film", {"file": str(place.home / "film.mov")}, queue="media", **job)


async def test_a_film_goes_on_from_its_stage_after_a_timeout_and_a_dead_server(server: Server, tmp_path: Path) -> None:
    journal, hold = tmp_path / "journal", tmp_path / "hold"
    (tmp_path / "film.mov").write_text("a film")
    async with filming(server, tmp_path, stand_in=True) as place:
        hold.touch()
        with serve(place) as service:
            service.ready()
            slow = await place.ended(await film(place, attempts=1, timeout=3))
            assert (slow["state"], slow["error"]["kind"]) == ("failed", "timeout")
            before = journal.read_text().split() if journal.exists() else []
            job = await film(place)
            await place.until(job, '"progress": 50')
            service.process.kill()
            service.process.wait()
        hold.unlink()
        with serve(place):
            ended = await place.ended(job)
    assert ended["state"] == "success", ended["error"]
    assert ended["result"] == {"folder": f"published/{job}", "seconds": 10}
    assert [entry["outcome"] for entry in ended["history"]] == ["hanging", "success"]
    # The transcoding that was interrupted ran again; what had finished did not.
    made = journal.read_text().split()[len(before) :]
    assert made == ["measure", "film.mp4", "film.mp4", "picture.jpg"]
    assert sorted(path.name for path in (tmp_path / "published" / job).iterdir()) == ["film.mp4", "picture.jpg"]


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.full
async def test_ffmpeg_makes_a_film_where_it_is_installed(server: Server, tmp_path: Path) -> None:
    is_there = shutil.which("ffmpeg") is not None
    if is_there:
        source = ["-f", "lavfi", "-i", "testsrc=duration=3:size=320x240", "-pix_fmt", "yuv420p"]
        await output("ffmpeg", "-v", "error", *source, str(tmp_path / "film.mov"))
    async with filming(server, tmp_path, stand_in=False) as place:
        with serve(place):
            ended = await place.ended(await film(place))
            (tmp_path / "film.mov").write_text("no film")
            bad = await place.ended(await film(place, attempts=1))
    if not is_there:
        assert (ended["state"], ended["error"]["message"]) == ("killed", "ffmpeg is not installed")
        return
    assert ended["state"] == "success", ended["error"]
    assert ended["result"]["seconds"] == pytest.approx(3, abs=0.2)
    assert bad["state"] == "failed"
    assert "Invalid data" in bad["error"]["message"]
    folder = tmp_path / ended["result"]["folder"]
    asked = ("-v", "error", "-show_entries", "stream=height", "-of", "csv=p=0")
    height = await output("ffprobe", *asked, str(folder / "film.mp4"))
    assert height.split() == ["480"]
    assert (folder / "picture.jpg").stat().st_size > 0
