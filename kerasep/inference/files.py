"""Files in, stems out: whole stems or none."""

import shutil
import sys
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from tqdm import tqdm

from kerasep.errors import KerasepError, UsageError
from kerasep.signal.audio import AudioFile, open_audio

if TYPE_CHECKING:  # a separator imports this module for `Separator.separate_file`
    from kerasep.inference.separator import Separator


class Format(StrEnum):
    """File formats of stems, by their extensions."""

    WAV = "wav"
    FLAC = "flac"


def separate_file(
    separator: "Separator",
    path: str | Path,
    folder: str | Path,
    *,
    format: str = Format.WAV,
    float32: bool = False,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Separate an audio file into FOLDER/<target>.<format>, with the file's rate and channels.

    On a terminal a progress bar shows how far it is. Samples beyond full scale are clipped in 16 bits, and counted on
    standard error.

    Args:
        separator: what separates.
        path: an audio or video file.
        folder: where the stems go; made if it is not there.
        format: "wav" or "flac".
        float32: 32-bit floating point instead of 16-bit samples; WAV alone has it.
        overwrite: replace stems that are there already.

    Returns:
        {target: its file}.

    Raises:
        UsageError: an unknown format, or FLAC with floating point.
        KerasepError: the file cannot be read, a stem is there already, or the folder cannot be written to. No stem is then
            written or replaced.

    Example:
        >>> import kerasep
        >>> separate_file(kerasep.load(), "song.wav", "stems")["vocals"]
        PosixPath('stems/vocals.wav')
    """
    if format not in tuple(Format):
        raise UsageError(f"unknown format {format!r}: choose from {', '.join(Format)}")
    if float32 and format == Format.FLAC:
        raise UsageError("FLAC holds no floating point: use --format wav with --float32")
    path, folder = Path(path), Path(folder)
    stems = {target: folder / f"{target}.{format}" for target in separator.targets}
    if not overwrite and (there := [stem for stem in stems.values() if stem.exists()]):
        raise KerasepError(f"{there[0]}: is there already: add --overwrite to replace it")
    with open_audio(path) as audio:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Next to the folder, on the same disk: moving whole stems there takes no time.
            with tempfile.TemporaryDirectory(prefix=".kerasep-", dir=folder.parent) as partial:
                written = {target: Path(partial) / stem.name for target, stem in stems.items()}
                _write_stems(separator, audio, written, "FLOAT" if float32 else "PCM_16")
                folder.mkdir(exist_ok=True)
                for target, stem in stems.items():
                    shutil.move(written[target], stem)
        except (OSError, soundfile.LibsndfileError) as error:
            reason = getattr(error, "strerror", None) or error
            raise KerasepError(f"{folder}: cannot be written ({reason}): choose another folder with -o") from error
    return stems


def _write_stems(separator: "Separator", audio: AudioFile, outputs: Mapping[str, Path], subtype: str) -> None:
    beyond = dict.fromkeys(outputs, 0)  # samples beyond full scale
    peak = dict.fromkeys(outputs, 0.0)
    progress = tqdm(total=audio.frames, desc=audio.path.name, unit="samples", unit_scale=True, disable=None, leave=False)
    files = {}
    try:
        for target, path in outputs.items():
            files[target] = soundfile.SoundFile(path, "w", audio.rate, audio.channels, subtype)
        with progress:
            for stems in separator.blocks(audio.blocks(), audio.rate, audio.channels):
                for target, samples in stems.items():
                    files[target].write(samples)
                    magnitude = np.abs(samples)
                    beyond[target] += int(np.count_nonzero(magnitude > 1))
                    peak[target] = max(peak[target], float(magnitude.max(initial=0)))
                progress.update(len(samples))
    finally:
        for file in files.values():
            file.close()
    if subtype != "FLOAT":
        for target, count in beyond.items():
            if count:
                over = 20 * np.log10(peak[target])
                print(
                    f"kerasep: {audio.path}: {count} samples of {target} were beyond full scale (by up to {over:.1f} dB) "
                    f"and are clipped: --float32 keeps them",
                    file=sys.stderr,
                )
