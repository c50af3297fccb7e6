"""What a command must never do, whatever it was given."""

import re
from pathlib import Path

import soundfile

OURS = re.compile(r"^(usage: )?(kerasep|python)")  # how lines on standard error begin
TARGETS = 2  # of the network that cases separate with
LEFT = re.compile(r"^(\.kerasep-|\.partial-|partial-|tmp)")


def faults(folder: Path, command: list[str], code: int, said: str, before: set[Path]) -> list[str]:
    """What is wrong with how a command ended.

    Args:
        folder: it ran in, with what is its own in `out`, `home` and `tmp`.
        command: its arguments.
        code: its exit code.
        said: on standard error.
        before: all paths of the folder before.
    """
    found = []
    if code not in (0, 1, 2):
        found.append(f"exit code {code}")
    if "Traceback" in said or "Exception ignored" in said:
        found.append("traceback: " + said.strip().splitlines()[-1])
    if code and not any(line.startswith("kerasep: ") or "error: " in line for line in said.splitlines()):
        found.append("no line that says why")
    allowed = ("out", "home", "scores") if "--resume" in command else ("out", "home")
    for path in set(folder.rglob("*")) - before:
        inside = path.relative_to(folder).parts
        if inside[0] not in allowed:
            found.append(f"left outside its output: {path.relative_to(folder)}")
        elif any(LEFT.match(part) for part in inside):
            found.append(f"left behind: {path.relative_to(folder)}")
    if command[0] == "separate":
        found += stems_faults(folder / "out")
        if "good.wav" in command and "model." not in command[-1] and not (folder / "out" / "good").is_dir():
            found.append("the good song was not separated")
    return found


def stems_faults(out: Path) -> list[str]:
    """Folders that do not have all stems, whole and of one length."""
    found = []
    for song in out.iterdir() if out.is_dir() else ():
        if song.name.startswith("."):
            continue
        lengths = set()
        for stem in song.iterdir():
            try:
                lengths.add(len(soundfile.read(stem)[0]))
            except soundfile.LibsndfileError as error:
                found.append(f"{song.name}/{stem.name}: {error}")
        if len(list(song.iterdir())) != TARGETS or len(lengths) != 1:
            found.append(f"{song.name}: stems are missing or differ in length")
    return found
