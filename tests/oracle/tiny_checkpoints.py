"""Creates random LLaMA folders in the styles of real checkpoints, with a tokenizer trained on generated text."""

import json
import os
import random

import numpy
import safetensors.torch
import scipy.io.wavfile
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers


transformers.utils.logging.disable_progress_bar()


def write_text(path, lines, seed):
    """Writes JSON Lines of sentences over a small vocabulary, so that texts differ but words recur."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abdeghiklmnoprstuy", k=rng.randrange(1, 8))) for _ in range(120)] + ["é", "naïve", "日本"]
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(lines):
            text = " ".join(rng.choices(words, k=rng.randrange(5, 60))).capitalize() + rng.choice(".!?\n")
            file.write(json.dumps({"text": text}) + "\n")


def write_transcripts(path, texts, seconds, seed):
    """Writes JSON Lines of audio files and these texts: tones that rise or fall, with noise, of different lengths, in a
    folder beside the file."""
    rng = numpy.random.default_rng(seed)
    folder = os.path.splitext(path)[0] + "-clips"
    os.makedirs(folder)
    with open(path, "w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            length = rng.uniform(0.3, 1.0) * seconds
            time = numpy.arange(int(16000 * length)) / 16000
            tone = numpy.sin(2 * numpy.pi * time * (rng.uniform(100, 4000) + rng.uniform(-50, 2000) * time))
            samples = 0.4 * tone + rng.uniform(0, 0.2) * rng.normal(size=len(time))
            name = f"{os.path.basename(folder)}/{number}.wav"
            scipy.io.wavfile.write(f"{os.path.dirname(path)}/{name}", 16000, (32767 * samples.clip(-1, 1)).astype("int16"))
            file.write(json.dumps({"audio": name, "text": text}) + "\n")


def texts_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def train_tokenizer(folder, texts, begin):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=["<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}, file)
    return tokenizer.get_vocab_size()


def randomise(model, seed):
    """Sets weights that are large enough for attention to matter, and norms and biases that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith(".bias"):
                parameter.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(1.3 * noise / parameter.shape[1] ** 0.5)


def make_model(folder, seed, dtype, config, shard_bytes):
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    randomise(model, seed)
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_bytes)


def use_old_style(folder):
    """Rewrites config.json as Transformers 4 wrote it: rope_theta and rope_scaling at the top, torch_dtype."""
    path = f"{folder}/config.json"
    config = json.load(open(path))
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = None if rope == {"type": "default"} else rope
    config["torch_dtype"] = config.pop("dtype")
    json.dump(config, open(path, "w"), indent=2)


LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.5}

# name, dtype, old style, begin token, size of a shard, changes to the configuration
VARIANTS = {
    "plain": (torch.float32, False, False, "1GB", {}),
    "tied-biased": (torch.bfloat16, False, True, "100KB",
                    {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 16,
                     "rope_parameters": LLAMA3}),
    "grouped-old-style": (torch.float16, True, True, "60KB",
                          {"hidden_size": 96, "num_attention_heads": 12, "num_key_value_heads": 6, "head_dim": 10,
                           "rope_parameters": LINEAR}),
    "wide-biased": (torch.float32, True, False, "1GB",
                    {"attention_bias": True, "head_dim": 12, "rope_parameters": LLAMA3}),
}  # fmt: skip


def make_checkpoint(root, name, texts):
    dtype, old_style, begin, shard_bytes, changes = VARIANTS[name]
    folder = f"{root}/{name}"
    os.makedirs(folder)
    vocabulary = train_tokenizer(folder, texts, begin)
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8,
              "head_dim": 8, "intermediate_size": 96, "vocab_size": vocabulary, "max_position_embeddings": 128,
              "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1, **changes}  # fmt: skip
    make_model(folder, len(name), dtype, config, shard_bytes)
    if old_style:
        use_old_style(folder)
    files = [file for file in os.listdir(folder) if file.endswith(".safetensors")]
    assert (len(files) > 1) == (shard_bytes != "1GB"), files
    tensors = {}
    for file in files:
        tensors.update(safetensors.torch.load_file(f"{folder}/{file}"))
    assert all(tensor.dtype == dtype for tensor in tensors.values())
    assert ("lm_head.weight" in tensors) != bool(changes.get("tie_word_embeddings")), sorted(tensors)
    return folder
