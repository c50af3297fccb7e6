"""What libsndfile cannot read goes through the ffmpeg program into temporary WAV files.

Files may come from anyone. ffmpeg also follows playlists, to other files, to the network and without end: here it opens the
named file alone, as one of the formats that hold sound themselves, and has so much time and room.
"""

import errno
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import soundfile

from kerasep.errors import KerasepError
from kerasep.signal.source import Source, native

# Of `ffmpeg -demuxers`: none that names other files (playlists, concat, image sequences, devices).
FORMATS = (
    "aac,ac3,ac4,adx,aea,aiff,amr,amrnb,amrwb,ape,aptx,aptx_hd,asf,ast,au,avi,bfstm,brstm,caf,codec2,dsf,dss,dts,dtshd,dv,eac3,"
    "flac,flv,g722,gsm,iff,ilbc,ircam,iss,lmlm4,loas,m4a,matroska,mlp,mmf,mov,mp2,mp3,mp4,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,"
    "nut,nuv,ogg,oma,opus,pvf,qcp,rm,sbc,sds,shn,sln,smjpeg,sol,sox,spdif,svx,swf,tak,truehd,tta,voc,vqf,w64,wav,webm,wma,"
    "wsaud,wsd,wtv,wv,xa,xwma"
)
STATING = {"aiff", "ape", "asf", "avi", "caf", "flac", "matroska", "mov", "tta", "w64", "wav", "wv"}  # state their lengths
SAFE = ("-protocol_whitelist", "file", "-format_whitelist", FORMATS)
# Sound that starts late, or has gaps, keeps its place; stamps that are off by less are left as they are.
TIMELINE = "aresample=async=1:first_pts=0:min_comp=0.02:min_hard_comp=0.02"
SECONDS = 25  # that decoding may take, and one more for each of
BYTES_A_SECOND = 100_000  # of the file, so that hours of music have time enough
ROOM = 1 << 30  # bytes that it may write, and so many for each byte of the file:
EXPANSION = 500
SLIGHT = 0.1  # seconds by which a container's length may be off


def decode(source: Source, outputs: list[Path], codec: str = "pcm_f32le", reason: str = "") -> None:
    """Decode the first audio streams of a file to WAV files (RF64 over 4 GiB), in the file's own timeline.

    Args:
        source: a file that may be anything.
        outputs: one for each stream; those that are there are overwritten.
        codec: of the samples, as ffmpeg names it.
        reason: why ffmpeg is needed, for those who have none.

    Raises:
        KerasepError: ffmpeg is missing or fails, the file is cut short, takes too long or too much room, or has fewer streams.
        OSError: the disk is full.
    """
    if shutil.which("ffmpeg") is None:
        raise KerasepError(f"{source.name}: {reason or 'holds several streams'}: install ffmpeg to decode it")
    size = source.file.stat().st_size
    seconds, room = SECONDS + size / BYTES_A_SECOND, ROOM + EXPANSION * size
    promised = _promised(source, len(outputs), seconds)
    command = ["ffmpeg", "-nostdin", "-v", "error", "-xerror", *SAFE, "-y", "-i", f"file:{source.file}"]
    for number, output in enumerate(outputs):
        command += ["-map", f"0:a:{number}", "-af", TIMELINE, "-c:a", codec]
        command += ["-rf64", "auto", "-fs", str(room), f"file:{output}"]
    try:
        _run(command, source.name, seconds)
    except KerasepError as error:
        if shutil.disk_usage(outputs[0].parent).free < 1 << 20:
            raise OSError(errno.ENOSPC, "the disk is full") from error
        raise
    for output, expected in zip(outputs, promised, strict=True):
        if output.stat().st_size >= room:
            raise KerasepError(
                f"{source.name}: {size} bytes hold more than {room / 1e9:.0f} GB of sound: decode it yourself if that is meant"
            )
        with soundfile.SoundFile(native(output)) as file:
            found = file.frames / file.samplerate
        if found < expected - SLIGHT:
            source.check_whole(expected - found, SLIGHT, f"{found:.1f} of {expected:.1f} seconds are there")


def _promised(source: Source, count: int, seconds: float) -> list[float]:
    """Where some of a file's audio streams end by its own account, in seconds; 0 for those of which it says nothing."""
    if shutil.which("ffprobe") is None:  # it nearly always comes with ffmpeg
        return [0.0] * count
    entries = "format=format_name:stream=start_time,duration:stream_tags=DURATION"
    show = ["-show_entries", entries, "-select_streams", "a", "-of", "json"]
    found = json.loads(_run(["ffprobe", "-v", "error", *SAFE, *show, f"file:{source.file}"], source.name, seconds))
    if not STATING.intersection(found.get("format", {}).get("format_name", "").split(",")):
        return [0.0] * count
    ends = [_end(stream) for stream in found.get("streams", [])[:count]]
    return ends + [0.0] * (count - len(ends))


def _end(stream: dict[str, Any]) -> float:
    """Where a stream ends: an MP4 has that as its beginning and duration, a Matroska file as a tag."""
    try:
        if "duration" in stream:
            return float(stream.get("start_time", 0)) + float(stream["duration"])
        hours, minutes, seconds = stream["tags"]["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        return 0.0


def _run(command: list[str], name: Path, seconds: float) -> str:
    """What ffmpeg or ffprobe prints. Where it fails, the first line on standard error has the reason, others what followed."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=seconds)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise KerasepError(f"{name}: {command[0]} took more than {seconds:.0f} s: convert it to WAV first") from None
    except OSError as error:
        raise KerasepError(f"{name}: {command[0]} cannot be run ({error.strerror}): install ffmpeg") from error
    if result.returncode:
        reason = next(iter(result.stderr.strip().splitlines()), "no reason given")
        reason = re.sub(r"^\[[^]]*\] |^file:", "", reason).removeprefix(f"{command[-1].removeprefix('file:')}: ")
        if "whitelist" in reason:
            reason = "no format that holds its sound itself"
        raise KerasepError(f"{name}: not audio that soundfile or ffmpeg can read ({reason})")
    return result.stdout
