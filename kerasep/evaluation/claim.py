"""What a folder's scores are of: one system with one choice of settings, on one data set, wherever that is."""

import hashlib
import json
from pathlib import Path
from typing import Any

from kerasep.datasets.musdb import STEMS, Song
from kerasep.errors import KerasepError
from kerasep.evaluation.records import read_json
from kerasep.files import write_json

SETTINGS = "settings.json"
DATA = "data"  # under it, {song: its fingerprint, None if it could not be read}

Fingerprints = dict[str, str | None]


def claim(output: Path, head: dict[str, Any], data: Fingerprints, resume: bool) -> None:
    """Write down what a folder's scores will be of; or make sure that what is written there is the same.

    Args:
        output: the folder.
        head: all that decides the scores of a song.
        data: the songs.
        resume: whether there may be scores already.

    Raises:
        KerasepError: there are and may not be, or they are of something else.
    """
    place = output / SETTINGS
    if place.exists():
        if not resume:
            raise KerasepError(f"{output}: holds scores already: add --resume to go on with them, or name another folder")
        try:
            known = read_json(place, {DATA: dict})
        except KerasepError as error:
            raise KerasepError(f"{error}: what the scores there are of is not known: name another folder") from error
        earlier = known.pop(DATA)
        if known != json.loads(json.dumps(head)):
            raise KerasepError(f"{output}: holds scores made with other settings: name another folder")
        for song in sorted({*earlier, *data}):
            if song not in earlier or song not in data:
                where = "in this data set alone" if song in data else "in theirs alone"
                raise KerasepError(f"{output}: holds scores on other songs ({song} is {where}): name another folder")
            if None not in (earlier[song], data[song]) and earlier[song] != data[song]:
                raise KerasepError(f"{output}: holds scores on other songs ({song} has changed): name another folder")
        data = {song: found or earlier[song] for song, found in data.items()}
    write_json(place, head | {DATA: data})


def fingerprint(song: Song) -> str | None:
    """What tells a song from another: its length, and a digest of the second in the middle of each stem."""
    digest = hashlib.sha256()
    start = max(0, song.frames - song.rate) // 2
    try:
        for stem in STEMS:
            digest.update(song.read(stem, start, min(song.rate, song.frames)).tobytes())
    except KerasepError:  # the song will not be scored
        return None
    return f"{song.frames} samples at {song.rate} Hz, {digest.hexdigest()[:16]}"
