"""Provides prompts for decoding: the beginnings of texts, encoded by a model's own tokenizer."""

import json

from tokenizers import Tokenizer


def prompts_of(folder, data, count, longest):
    """Returns the ids of the first texts, cut to lengths from 1 to `longest` (the short ones first)."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    with open(data, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(count))]
    lengths = [max(1, longest * (i + 1) // count) for i in range(count)]
    return [tokenizer.encode(text).ids[:length] for text, length in zip(texts, lengths)]


def greedy_of(model, prompts, new_tokens):
    """Returns Transformers' greedy continuations, with its own cache. No token ends a continuation early. Its cache of an
    encoder-decoder has room for as many layers of the decoder as the encoder has, so that there none is used."""
    import torch

    continuations = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1,
                                    max_new_tokens=new_tokens, min_new_tokens=new_tokens, pad_token_id=0,
                                    use_cache=not model.config.is_encoder_decoder)  # fmt: skip
        # An encoder-decoder returns its start token and the answer.
        continuations.append(output[0, 1 if model.config.is_encoder_decoder else len(prompt):].tolist())
    return continuations
