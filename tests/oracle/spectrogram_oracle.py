"""Compares the spectrograms of generated WAV files with those of Transformers' WhisperFeatureExtractor.

usage: spectrogram_oracle.py <data_tool>
"""

import json
import subprocess
import sys
import tempfile

import numpy
import scipy.io.wavfile
import transformers

RATE = 16000
# The extractor has two implementations. The one in PyTorch computes in float32, where leakage of a pure tone is rounding.
TOLERANCE, FLOAT32_TOLERANCE = 1e-5, 1e-4
FORMATS = {"uint8": lambda x: numpy.uint8(numpy.round(128 + 127 * x)), "int16": lambda x: numpy.int16(32767 * x),
           "int32": lambda x: numpy.int32(2147483000 * x), "float32": numpy.float32, "float64": numpy.float64}  # fmt: skip


def signals(seconds):
    """Yields names and samples between -1 and 1."""
    rng = numpy.random.default_rng(1)
    time = numpy.arange(RATE * seconds) / RATE
    yield "noise", rng.uniform(-0.5, 0.5, len(time))
    yield "sweep", 0.8 * numpy.sin(2 * numpy.pi * time * (50 + 3900 / seconds * time))
    yield "short", rng.uniform(-0.9, 0.9, 12345) * numpy.linspace(0, 1, 12345)
    yield "silence", numpy.zeros(1000)
    yield "one-sample", numpy.array([0.25])


def samples_of(path):
    """Returns the samples of a file from -1 to 1, as float32."""
    _, samples = scipy.io.wavfile.read(path)
    if samples.dtype == numpy.uint8:
        return numpy.float32((samples.astype("float64") - 128) / 128)
    scale = -float(numpy.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1
    return numpy.float32(samples.astype("float64") / scale)


def main():
    tool = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    largest = compared = 0
    with tempfile.TemporaryDirectory() as work:
        for mel_bins, seconds in ((80, 30), (128, 30), (20, 1)):
            extractor = transformers.WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=seconds)
            for number, (name, signal) in enumerate(signals(seconds)):
                kind = list(FORMATS)[number % len(FORMATS)]
                path = f"{work}/{mel_bins}-{name}.wav"
                scipy.io.wavfile.write(path, RATE, FORMATS[kind](signal))
                tool.stdin.write(json.dumps({"clip": path, "mel_bins": mel_bins, "frames": 100 * seconds}) + "\n")
                tool.stdin.flush()
                answer = json.loads(tool.stdout.readline())
                ours = numpy.array(answer["spectrogram"]).reshape(mel_bins, -1)
                samples = samples_of(path)
                padded = numpy.pad(samples, (0, extractor.n_samples - len(samples)))
                difference = abs(ours - extractor._np_extract_fbank_features(padded[None], "cpu")[0]).max()
                whole = abs(ours - extractor(samples, sampling_rate=RATE, return_tensors="np").input_features[0]).max()
                assert difference < TOLERANCE and whole < FLOAT32_TOLERANCE, (path, kind, difference, whole)
                largest, compared = max(largest, difference), compared + 1
    tool.stdin.close()
    assert tool.wait() == 0
    print(f"{compared} spectrograms are within {largest:.1e} of Transformers'")


main()
