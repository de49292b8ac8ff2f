"""Trains a converted Whisper on one rank and on two, and compares the loss of the first step, the perplexity that training
measures, and the result with Transformers; then checks that bad audio is refused by name.

usage: speech_oracle.py <regroup> <logits_tool>
"""

import json
import os
import shutil
import sys
import tempfile

import numpy
import scipy.io.wavfile
import torch

from regroup_programs import Programs, report_of, weights_of
from tiny_checkpoints import texts_of, write_text, write_transcripts
from tiny_families import make_family_checkpoint
from transformers_checks import check_logits, check_perplexity, load, perplexity_of, predictions_of, random_tokens, token_windows

LENGTH, KV_HEADS, CLIPS, WINDOWS, STEPS = 48, 2, 16, 5, 6
TRAININGS = {
    "direct": {"method": "direct"},
    "two-ranks": {"method": "direct", "ranks": 2},
    "slices": {"method": "direct", "ranks": 2, "shard": "all"},
    "attention": {"method": "direct", "ranks": 2, "train": "attention"},
    "gates": {"method": "l0"},
    "two-ranks-gates": {"method": "l0", "ranks": 2},
}
POSITIONS = "model.encoder.embed_positions.weight"


def divergence(source, student, windows):
    """Returns the mean divergence of the student's predictions from the source's, over the tokens of the transcripts."""
    teacher, targets = predictions_of(source, windows)
    log_p, log_q = (torch.log_softmax(logits.double(), -1) for logits in (teacher, predictions_of(student, windows)[0]))
    return (log_p.exp() * (log_p - log_q)).sum(-1)[targets >= 0].mean().item()


def check_clip(report, config):
    """Checks the keys and values, in float32, that the report says the cross attention keeps of a clip."""
    before = config.decoder_layers * 2 * config.d_model * config.max_source_positions * 4
    after = before * KV_HEADS // config.decoder_attention_heads
    assert f"{before:,} B of every clip in the cache of the source, and {after:,} B" in report["cache_note"], report["cache_note"]


def check_training(programs, work, source_folder, first_loss, name, training):
    train, valid = f"{work}/train.jsonl", f"{work}/valid.jsonl"
    # Every step reads all clips, so that their order does not matter.
    finetune = {"data": train, "steps": STEPS, "batch_sequences": CLIPS, "micro_batch_sequences": 4, "sequence_length": LENGTH,
                "learning_rate": 1e-3, "precision": "float32", "evaluate_every_steps": 4, "evaluate_windows": WINDOWS,
                **training}  # fmt: skip
    folder = programs.convert(work, name, source_folder, KV_HEADS, calibration=calibration(train), finetune=finetune,
                              evaluation={"perplexity": {"data": valid, "sequence_length": LENGTH}})  # fmt: skip
    curves, result = report_of(folder)["curves"], load(folder)
    check_clip(report_of(folder), result.config)
    measured = curves["validation_perplexity"]
    assert [step for step, _ in measured] == [4, STEPS], measured
    expected = perplexity_of(result, token_windows(source_folder, valid, LENGTH)[:WINDOWS])
    assert abs(measured[-1][1] / expected - 1) < 1e-4, (name, measured, expected)
    losses = [loss for _, loss in curves["loss"]]
    # Gates hide part of what the heads lose by merging.
    if training["method"] == "direct":
        assert abs(losses[0] / first_loss - 1) < 1e-3, (name, losses, first_loss)
        assert losses[-1] < losses[0], (name, losses)
    assert torch.equal(weights_of(folder)[POSITIONS], weights_of(source_folder)[POSITIONS]), name
    check_logits(programs, folder, random_tokens(result, 2, 100), result)
    perplexity = check_perplexity(folder, source_folder, valid, LENGTH, result=result)
    print(f"{name}: loss {losses[0]:.5f} -> {losses[-1]:.5f}; measured {measured[-1][1]:.4f}, Transformers {expected:.4f}; "
          f"perplexity {perplexity['source']:.3f} -> {perplexity['result']:.3f}", flush=True)  # fmt: skip
    return losses


def calibration(data):
    return {"data": data, "sequences": CLIPS, "sequence_length": LENGTH}


def check_trainings(programs, work, source_folder):
    merged = programs.convert(work, "merged", source_folder, KV_HEADS, calibration=calibration(f"{work}/train.jsonl"),
                              finetune={"method": "none"})  # fmt: skip
    first = divergence(load(source_folder), load(merged), token_windows(source_folder, f"{work}/train.jsonl", LENGTH))
    losses = {name: check_training(programs, work, source_folder, first, name, training)
              for name, training in TRAININGS.items()}  # fmt: skip
    for one, other in (("direct", "two-ranks"), ("direct", "slices"), ("gates", "two-ranks-gates")):
        assert numpy.allclose(losses[one], losses[other], rtol=1e-3), (one, losses[one], other, losses[other])


def write_bad_clips(folder):
    samples = (8000 * numpy.sin(numpy.arange(8000))).astype("int16")
    for name, rate, content in (("rate", 8000, samples), ("stereo", 16000, numpy.stack([samples, samples], 1)),
                                ("empty", 16000, samples[:0]), ("long", 16000, numpy.zeros(16001, "int16")),
                                ("infinite", 16000, numpy.full(9, numpy.inf, "float32")), ("good", 16000, samples)):  # fmt: skip
        scipy.io.wavfile.write(f"{folder}/{name}.wav", rate, content)
    with open(f"{folder}/flac.wav", "wb") as file:
        file.write(b"fLaC")
    shutil.copyfile(f"{folder}/good.wav", f"{folder}/cut.wav")
    os.truncate(f"{folder}/cut.wav", 30)
    os.mkfifo(f"{folder}/fifo.wav")


def check_refused(programs, work, name, source_folder, words, **sections):
    done, output = programs.run(work, f"refused-{name}", source_folder, KV_HEADS, **{"finetune": {"method": "none"}, **sections})
    said = done.stdout + done.stderr
    assert done.returncode != 0 and all(word in said for word in words), (name, words, said[-3000:])
    assert not os.path.exists(output), name


def check_refusals(programs, work, source_folder):
    write_bad_clips(work)
    good = {"audio": "good.wav", "text": "Alpha beta."}
    for name, line, words in (
            ("missing", {"audio": "none.wav"}, ["none.wav"]),
            ("rate", {"audio": "rate.wav"}, ["rate.wav: has 8000 samples a second, but the model reads 16000"]),
            ("stereo", {"audio": "stereo.wav"}, ["stereo.wav: has 2 channels"]),
            ("empty", {"audio": "empty.wav"}, ["empty.wav: has no samples"]),
            ("long", {"audio": "long.wav"}, ["long.wav: lasts 1.00 s, but a clip at most 1.00 s"]),
            ("infinite", {"audio": "infinite.wav"}, ["infinite.wav: has samples that are not finite"]),
            ("flac", {"audio": "flac.wav"}, ["flac.wav: is not a WAV file"]),
            ("cut", {"audio": "cut.wav"}, ["cut.wav: is damaged"]),
            ("fifo", {"audio": "fifo.wav"}, ["fifo.wav"]),
            ("no-path", {"audio": ""}, [":2: the field \"audio\" must be the path of a file"]),
            ("text-alone", {"audio": None}, [":2: the field \"audio\" is missing"])):  # fmt: skip
        data = f"{work}/bad-{name}.jsonl"
        bad = {key: value for key, value in {**good, **line}.items() if value is not None}
        with open(data, "w") as file:
            file.writelines(json.dumps(each) + "\n" for each in (good, bad))
        check_refused(programs, work, name, source_folder, ["calibration.data: ", *words],
                      calibration={**calibration(data), "sequences": 2})  # fmt: skip
        if name not in ("missing", "rate"):
            continue
        # Training reads its data hours later; every line is read before.
        training = {"method": "direct", "data": data, "steps": 1, "batch_sequences": 1, "sequence_length": LENGTH}
        check_refused(programs, work, f"{name}-training", source_folder, ["finetune.data: ", *words],
                      calibration=calibration(f"{work}/train.jsonl"), finetune=training)  # fmt: skip
    for name, section, words in (
            ("latency", {"evaluation": {"latency": {"batch_sizes": [1], "context_lengths": [8], "new_tokens": 4}}},
             "evaluation.latency: not for models that read audio"),
            ("answers", {"evaluation": {"answers": {"prompts": ["Gamma."]}}}, "evaluation.answers: not for models that read audio"),
            ("length", {"calibration": {**calibration(f"{work}/train.jsonl"), "sequence_length": 65}},
             "calibration.sequence_length: 65 is more than the 64 positions of the decoder")):  # fmt: skip
        check_refused(programs, work, name, source_folder, [words], **{"calibration": calibration(f"{work}/train.jsonl"), **section})
    for key, value in (("hop_length", 80), ("sampling_rate", 8000), ("feature_size", 80), ("chunk_length", 30)):
        copy = f"{work}/other-{key}"
        shutil.copytree(source_folder, copy)
        with open(f"{copy}/preprocessor_config.json") as file:
            settings = json.load(file)
        with open(f"{copy}/preprocessor_config.json", "w") as file:
            json.dump({**settings, key: value}, file)
        check_refused(programs, work, key.replace("_", "-"), copy, [f"preprocessor_config.json: '{key}' is {value}"],
                      calibration=calibration(f"{work}/train.jsonl"))  # fmt: skip
    print("bad audio, settings and measurements are refused by name")


def main():
    torch.set_num_threads(1)
    programs = Programs(*sys.argv[1:])
    with tempfile.TemporaryDirectory() as work:
        for name, lines in (("train", CLIPS), ("valid", 12)):
            write_text(f"{work}/{name}-text.jsonl", lines, seed=lines)
            write_transcripts(f"{work}/{name}.jsonl", texts_of(f"{work}/{name}-text.jsonl"), seconds=1, seed=lines)
        source_folder = make_family_checkpoint(work, "whisper", texts_of(f"{work}/train.jsonl"))
        check_trainings(programs, work, source_folder)
        check_refusals(programs, work, source_folder)
    print("the training of Whisper agrees with Transformers")


main()
