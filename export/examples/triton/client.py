"""Stems of a song from a Triton server with one of kerasep's waveform graphs: python client.py SERVER:PORT MODEL SONG.wav.

Needs numpy, soundfile and tritonclient[http]. The song has the model's rate and channels; stems go next to it.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
from tritonclient.http import InferenceServerClient, InferInput


def main(address: str, model: str, song: str) -> None:
    client = InferenceServerClient(address)
    config = client.get_model_config(model)
    length, stride, margin = (int(config["parameters"][name]["string_value"]) for name in ("samples", "stride", "margin"))
    audio, rate = soundfile.read(song, dtype="float32", always_2d=True)
    stems: dict[str, list[np.ndarray]] = {output["name"]: [] for output in config["output"]}
    for start in range(0, max(stride, len(audio) - length + stride), stride):  # segments, which overlap by two margins
        segment = audio[start : start + length]
        mixture = np.zeros((1, audio.shape[1], length), np.float32)
        mixture[0, :, : len(segment)] = segment.T
        request = InferInput("mixture", list(mixture.shape), "FP32")
        request.set_data_from_numpy(mixture)
        answer = client.infer(model, [request])
        first, last = margin if start else 0, len(segment) if start + length >= len(audio) else margin + stride
        for target, parts in stems.items():
            parts.append(answer.as_numpy(target)[0, :, first:last])
    for target, parts in stems.items():
        path = Path(song).with_name(f"{Path(song).stem}-{target}.wav")
        soundfile.write(path, np.concatenate(parts, axis=1).T, rate, "FLOAT")
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
