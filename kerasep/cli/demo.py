"""`kerasep demo`: the song of `kerasep.datasets.demo`, separated, scored and drawn."""

import argparse
from pathlib import Path

import numpy as np
import soundfile

from kerasep.cli.options import Commands, add_command, add_model_options, add_output, load_separator
from kerasep.datasets.demo import RATE, render
from kerasep.files import replacing
from kerasep.signal.audio import writing
from kerasep.signal.spectrogram import Spectrogram
from kerasep.signal.stft import stft


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "demo", run, "Render a short song, separate it, and show what came out")
    add_model_options(parser)
    add_output(parser, "kerasep-demo")


def run(arguments: argparse.Namespace) -> int:
    """Render, separate, write stems and a picture, print each stem's SDR.

    Raises:
        KerasepError: the folder cannot be written to.
    """
    from kerasep.evaluation.bsseval import frame_sdr

    separator, output = load_separator(arguments), arguments.output
    references = render()
    mixture = np.sum(list(references.values()), axis=0)
    stems = separator(mixture, RATE)
    for name, samples in {"mixture": mixture, **stems}.items():
        with replacing(output / f"{name}.wav") as partial, writing(output):
            soundfile.write(partial, samples, RATE, "FLOAT")
    with replacing(output / "demo.png") as partial:
        picture(mixture, stems, partial)
    known = {target: references[target] for target in stems if target in references}
    scores = frame_sdr(known, {target: stems[target] for target in known}, RATE)
    for target, values in scores.items():
        print(f"{target:>8} {np.nanmedian(values):6.2f} dB SDR")
    print(f"stems and a picture of them: {output}/")
    return 0


def picture(mixture: np.ndarray, stems: dict[str, np.ndarray], path: Path) -> None:
    """Draw spectrograms of the mixture and every stem, float32 (samples, channels) at 44.1 kHz, one above the other."""
    from matplotlib.figure import Figure

    spectrogram = Spectrogram(rate=RATE, channels=mixture.shape[1])
    figure = Figure(figsize=(9, 1.9 * (1 + len(stems))), layout="constrained")
    axes = figure.subplots(1 + len(stems), 1, sharex=True, sharey=True)
    top = 20 * np.log10(np.abs(stft(mixture, spectrogram)).mean(axis=2).max())
    for axis, (name, samples) in zip(axes, {"mixture": mixture, **stems}.items(), strict=True):
        level = 20 * np.log10(np.abs(stft(samples, spectrogram)).mean(axis=2).T + 1e-9)  # (bins, frames)
        times = np.arange(level.shape[1] + 1) * spectrogram.hop / RATE
        frequencies = np.arange(1, level.shape[0]) * RATE / spectrogram.fft  # from the first bin's upper edge on
        image = axis.pcolormesh(times, frequencies, level[1:-1], vmin=top - 80, vmax=top, cmap="magma", rasterized=True)
        axis.set_yscale("log")
        axis.set_ylim(40, 16000)
        axis.set_yticks([100, 1000, 10000], ["100", "1k", "10k"])
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB from the mixture's peak", aspect=60).set_ticks(
        [top - 80, top - 60, top - 40, top - 20, top], labels=["-80", "-60", "-40", "-20", "0"]
    )
    figure.savefig(path, dpi=100, format="png")
