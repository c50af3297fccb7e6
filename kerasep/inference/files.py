"""Files in, stems out: whole stems or none."""

import errno
import warnings
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from tqdm import tqdm

from kerasep.errors import KerasepError, KerasepWarning, UsageError
from kerasep.files import making
from kerasep.inference.sound import wrong_rate
from kerasep.signal.audio import AudioFile, open_audio, writing
from kerasep.signal.source import native

if TYPE_CHECKING:  # a separator imports this module for `Separator.separate_file`
    from kerasep.inference.separator import Separator


LARGE = 0xFFFF0000  # bytes of samples
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f} of {total:.1f} minutes of sound [{elapsed}<{remaining}]"


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
    progress: bool = True,
) -> dict[str, Path]:
    """Separate an audio file into FOLDER/<target>.<format>, with the file's rate and channels.

    On a terminal a progress bar shows how far it is. Samples beyond full scale are clipped in 16 bits, and a warning counts
    them. Files of other names that are in the folder stay there.

    Args:
        separator: what separates.
        path: an audio or video file, a pipe, or "-" for standard input.
        folder: where the stems go; made if it is not there.
        format: "wav" or "flac".
        float32: 32-bit floating point instead of 16-bit samples; WAV alone has it.
        overwrite: replace stems that are there already.
        progress: show the bar.

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
    with open_audio(path) as audio, making(folder, add=True, overwrite=overwrite) as made:
        if wrong := wrong_rate(audio.rate):
            raise KerasepError(f"{path}: {wrong}")
        with writing(made):
            _write_stems(separator, audio, {target: made / stem.name for target, stem in stems.items()}, float32, progress)
    return stems


def _write_stems(separator: "Separator", audio: AudioFile, outputs: Mapping[str, Path], float32: bool, progress: bool) -> None:
    subtype, name = "FLOAT" if float32 else "PCM_16", audio.source.name
    # A WAV file's header counts to 4 GiB; RF64 is WAV with a longer one.
    large = audio.frames * audio.channels * (4 if float32 else 2) > LARGE
    beyond = dict.fromkeys(outputs, 0)  # samples beyond full scale
    peak = dict.fromkeys(outputs, 0.0)
    total, shown = audio.frames / audio.rate / 60, None if progress else True
    minutes = tqdm(total=total, desc=name.name, bar_format=BAR, disable=shown, leave=False)
    done, files = 0, {}
    try:
        for target, path in outputs.items():
            form = "RF64" if large and path.suffix == f".{Format.WAV}" else path.suffix[1:].upper()
            files[target] = soundfile.SoundFile(native(path), "w", audio.rate, audio.channels, subtype, format=form)
        with minutes:
            for stems in separator.blocks(audio.blocks(), audio.rate, audio.channels):
                for target, samples in stems.items():
                    files[target].write(samples)
                    magnitude = np.abs(samples)
                    beyond[target] += int(np.count_nonzero(magnitude > 1))
                    peak[target] = max(peak[target], float(magnitude.max(initial=0)))
                done += len(samples)
                minutes.update(len(samples) / audio.rate / 60)
    finally:
        for file in files.values():
            file.close()
    for path in outputs.values():
        _check_written(path, done)
    if not float32:
        for target, count in beyond.items():
            if count:
                over = 20 * np.log10(peak[target])
                warnings.warn(
                    f"{name}: {count} samples of {target} were beyond full scale (by up to {over:.1f} dB) and are clipped: "
                    f"--float32 keeps them",
                    KerasepWarning,
                    stacklevel=3,
                )


def _check_written(path: Path, frames: int) -> None:
    """Raise OSError unless a file has all its samples: FLAC's last block is written when it is closed, and may fail unsaid."""
    with soundfile.SoundFile(native(path)) as file:
        file.seek(max(frames - 1, 0))
        if file.frames != frames or len(file.read(1)) != min(frames, 1):
            raise OSError(errno.EIO, "samples are missing")
