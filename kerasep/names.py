"""Names of folders and files that any system takes."""

import hashlib
import re
from pathlib import Path

# What Windows refuses: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?")
LONGEST = 200  # bytes: file systems take 255, and some that encrypt names take fewer


def portable(name: str) -> str:
    """A name for a folder that Windows, macOS and Linux take alike: the name itself, where they do.

    Example:
        >>> portable("Who Are You?"), portable("con"), portable("..")
        ('Who Are You_', 'con_', '_')
    """
    made = FORBIDDEN.sub("_", name)
    stripped = made.rstrip(". ")
    made = stripped + "_" if stripped != made or DEVICES.fullmatch(stripped) else made
    raw = made.encode("utf-8", "surrogateescape")
    if len(raw) > LONGEST:  # the end tells apart what begins alike
        made = raw[:LONGEST].decode("utf-8", "ignore").rstrip(". ") + "~" + hashlib.sha256(raw).hexdigest()[:8]
    return made or "_"


def song_name(path: Path) -> str:
    """The folder for a file's stems: its name without its extensions, as `portable` has it.

    Example:
        >>> song_name(Path("music/song.stem.mp4")), song_name(Path("...wav")), song_name(Path("-"))
        ('song', '_', 'stdin')
    """
    return portable(title(path))


def title(path: Path) -> str:
    """A file's name without its extensions."""
    if str(path) == "-":
        return "stdin"
    name = path.name.removesuffix(path.suffix) if path.suffix != path.name else path.name
    return name.removesuffix(".stem") or path.name
