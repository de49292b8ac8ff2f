"""Checks a folder with Transformers: whether it loads as it should, its logits and its perplexity."""

import json
import math
import os
import shutil

import scipy.io.wavfile
import torch
import transformers
from tokenizers import Tokenizer

from regroup_programs import config_of, report_of


ENCODER_DECODERS = {"t5", "t5gemma", "bart", "mbart", "pegasus", "marian", "m2m_100"}
# Encoder-decoders whose encoder reads a spectrogram.
AUDIO = {"whisper"}
# Classes that compute positions and store the table.
SINUSOIDAL = {"pegasus", "marian"}
# Checkpoints with a language model among other parts.
COMPOSITES = {"llava", "llava_next", "vipllava", "gemma3"}


def model_class(model_type):
    if model_type in AUDIO:
        return transformers.AutoModelForSpeechSeq2Seq
    if model_type in ENCODER_DECODERS:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForImageTextToText if model_type in COMPOSITES else transformers.AutoModelForCausalLM


def text_configs(config):
    """Returns the parts of a config.json that describe the language model."""
    if config["model_type"] == "t5gemma":
        return [config["encoder"], config["decoder"]]
    return [config["text_config"] if config["model_type"] in COMPOSITES else config]


def text_config(config):
    """Returns the part that describes what is decoded."""
    return text_configs(config)[-1]


def parsed_text_config(model):
    """Returns the same of a loaded model."""
    return model.config.decoder if model.config.model_type == "t5gemma" else model.config.get_text_config()


def is_of_language_model(name):
    return not name.startswith(("model.vision_tower.", "model.multi_modal_projector.", "model.image_newline"))


def load(folder):
    """Returns the model in float32; fails if a weight is missing, unexpected or has another shape."""
    # Transformers computes soft caps of attention logits in its eager implementation only.
    model, info = model_class(config_of(folder)["model_type"]).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (folder, kind, info[kind])
    assert not info.get("error_msgs"), info["error_msgs"]
    return model.eval()


def in_float32(trained, folder):
    """Copies a trained model with weights in float32: rounding to bfloat16 would hide how far a conversion moves it."""
    shutil.copytree(trained.folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    load(trained.folder).save_pretrained(folder)
    return trained._replace(folder=folder)


def encoder_inputs(config, length):
    """Returns how many entries of a window an encoder reads: the first half, or a spectrogram."""
    if config.model_type in AUDIO:
        return config.num_mel_bins * 2 * config.max_source_positions
    return length // 2


def spectrograms_of(config, entries):
    """Returns the spectrograms whose bits are in these entries."""
    return entries.to(torch.int32).view(torch.float32).view(len(entries), config.num_mel_bins, -1)


def logits_of(model, tokens):
    """Logits of every token; an encoder-decoder encodes the first half, or audio, and predicts the rest."""
    config = model.config
    with torch.no_grad():
        if not config.is_encoder_decoder:
            return model(tokens).logits.float()
        first = encoder_inputs(config, tokens.shape[1])
        start = torch.full_like(tokens[:, :1], config.decoder_start_token_id)
        # Nothing depends on what is read behind the end of a transcript.
        read = torch.cat([start, tokens[:, first:-1]], 1).clamp(min=0)
        if config.model_type in AUDIO:
            return model(input_features=spectrograms_of(config, tokens[:, :first]), decoder_input_ids=read).logits.float()
        return model(input_ids=tokens[:, :first], decoder_input_ids=read).logits.float()


def predictions_of(model, tokens):
    """Returns logits, and the tokens that they predict."""
    if model.config.is_encoder_decoder:
        return logits_of(model, tokens), tokens[:, encoder_inputs(model.config, tokens.shape[1]) :]
    return logits_of(model, tokens)[:, :-1], tokens[:, 1:]


def relative_difference(logits, expected):
    """Returns the largest difference relative to the largest logit."""
    return ((logits.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def random_tokens(model, sequences, length):
    generator = torch.Generator().manual_seed(5)
    config = parsed_text_config(model)
    tokens = torch.randint(0, config.vocab_size, (sequences, length), generator=generator)
    if model.config.model_type in AUDIO:
        spectrograms = torch.randn(sequences, encoder_inputs(model.config, 0), generator=generator)
        return torch.cat([spectrograms.view(torch.int32).long(), tokens[:, : length // 2]], 1)
    # A token for padding inside a text has no position in M2M-100, and T5Gemma's encoder does not see it.
    hides_padding = model.config.model_type in ("m2m_100", "t5gemma")
    return tokens.where(tokens != config.pad_token_id, 4) if hides_padding else tokens


def audio_windows(folder, data, length):
    """Returns the windows of a model that reads audio: the bits of the spectrogram of Transformers' feature extractor, and
    a transcript without the token that the decoder begins with, with the end token, and -1 behind it."""
    config = config_of(folder)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    rows = []
    with open(data, encoding="utf-8") as file:
        for line in map(json.loads, file):
            rate, samples = scipy.io.wavfile.read(os.path.join(os.path.dirname(data), line["audio"]))
            samples = samples.astype("float32") / 32768
            # The implementation in float64: the one of PyTorch in float32 differs by 5e-5 for pure tones.
            padded = extractor.pad({"input_features": [samples[:, None]]}, max_length=extractor.n_samples, padding="max_length")
            spectrogram = extractor._np_extract_fbank_features(padded["input_features"][0].T, "cpu")[0]
            ids = tokenizer.encode(line["text"]).ids
            ids = ids[ids[:1] == [config["decoder_start_token_id"]] :]
            ids += [] if ids[-1:] == [config["eos_token_id"]] else [config["eos_token_id"]]
            tokens = torch.tensor((ids + [-1] * length)[:length])
            rows.append(torch.cat([torch.tensor(spectrogram.ravel()).float().view(torch.int32).long(), tokens]))
    return torch.stack(rows)


def token_windows(folder, data, length):
    """Implements the protocol of perplexity: encodes every text with the tokenizer's own post-processing, adds the end
    token, joins them, and cuts windows without overlap; the last partial window is dropped."""
    if config_of(folder)["model_type"] in AUDIO:
        return audio_windows(folder, data, length)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    end = text_config(config_of(folder)).get("eos_token_id")
    ids = []
    with open(data, encoding="utf-8") as file:
        for line in file:
            ids += tokenizer.encode(json.loads(line)["text"]).ids + ([] if end is None else [end])
    windows = len(ids) // length
    return torch.tensor(ids[: windows * length]).view(windows, length)


def perplexity_of(model, windows, batch=16):
    total, count = 0.0, 0
    for some in windows.split(batch):
        logits, targets = predictions_of(model, some)
        counted = targets >= 0
        log_q = torch.log_softmax(logits.double(), -1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        total -= log_q[counted].sum().item()
        count += counted.sum().item()
    return math.exp(total / count)


def check_logits(programs, folder, tokens, model=None):
    """Checks that Transformers and the trainer agree; returns Transformers' logits."""
    model = model or load(folder)
    expected = logits_of(model, tokens)
    difference = relative_difference(programs.logits(folder, tokens), expected)
    assert difference < 1e-4, (folder, difference)
    return expected, difference


def check_perplexity(folder, source_folder, data, length, source=None, result=None):
    """Checks that report.json agrees with Transformers for the source and for the result."""
    report = report_of(folder)
    shown = {}
    for subject, path, model in (("source", source_folder, source), ("result", folder, result)):
        expected = perplexity_of(model or load(path), token_windows(source_folder, data, length))
        ours = report[subject]["perplexity"]
        assert abs(ours / expected - 1) < 1e-3, (folder, subject, ours, expected)
        shown[subject] = ours
    return shown


def check_configuration(folder, source_folder, kv_heads):
    """Checks that the configuration is the source's own, with the heads changed and the provenance added."""
    config, source = config_of(folder), config_of(source_folder)
    assert all(part["num_key_value_heads"] == kv_heads for part in text_configs(config)), config
    assert config["regroup"]["source_kv_heads"] == text_config(source)["num_key_value_heads"]
    assert parsed_text_config(load(folder)).num_key_value_heads == kv_heads
    del config["regroup"]
    for part in text_configs(source):
        part["num_key_value_heads"] = kv_heads
    assert config == source, (config, source)
