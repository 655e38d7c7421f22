"""Writes tiny text encoders with random weights, and what the reference implementations make of odd prompts with them.

    python scripts/golden/text_encoders.py test/data

Needs torch, transformers and safetensors, and the tokenizers that text_tokenizers.py left in the folder. Written are folders
as released models have them, with float16 weights:

    clip/text_encoder/     config.json and model.safetensors; the tokenizer lies beside it, as in Stable Diffusion 2.1
    t5/                    config.json and model.safetensors in shards with an index, decoder included, beside the tokenizer
    text-encoders.safetensors

The last holds for each encoder `NAME.ids.N` (int32), `NAME.states.N` (T, W), both without padding, and `NAME.pooled`
(prompts, W), computed in float32 on prompts padded to the encoder's length; `t5.buckets` is the relative position bucket
of the distances -200 … 200. The prompts are in the metadata.
"""

import json
import os
import sys

import torch
from minilm import PROMPTS as WORDS
from safetensors.torch import save_file
from text_tokenizers import reference_t5
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

PROMPTS = [*WORDS, "wow! what a cat!", "a <|endoftext|> b </s> c", "one " * 75, "one " * 118]


def randomize(model: torch.nn.Module) -> None:
    """Weights large enough that attention is far from uniform, then rounded to float16."""
    source = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=source)
        one = 1 if "norm" in name and name.endswith("weight") else 0
        scale = 0.2 if weight.ndim < 2 else 1 if "embed" in name or "shared" in name or "relative" in name else 1.5 / weight.shape[1] ** 0.5
        weight.data = (one + scale * noise).half().float()


def run(name: str, model, tokenizer, length: int, pool, tensors: dict) -> None:
    batch = tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        out = model.eval()(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    counts = batch.attention_mask.sum(1)
    for i, count in enumerate(counts):
        tensors[f"{name}.ids.{i}"] = batch.input_ids[i, :count].to(torch.int32).contiguous()
        tensors[f"{name}.states.{i}"] = out.last_hidden_state[i, :count].contiguous()
    tensors[f"{name}.pooled"] = pool(out, batch.attention_mask).contiguous()


def mean(out, mask: torch.Tensor) -> torch.Tensor:
    return (out.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def main(folder: str) -> None:
    tensors = {}
    tokenizer = AutoTokenizer.from_pretrained(f"{folder}/clip/tokenizer")
    # eos_token_id 2 is what released configurations say, whatever the vocabulary.
    clip = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3,
        hidden_act="gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1,
    ))
    randomize(clip)
    run("clip", clip, tokenizer, 77, lambda out, _: out.pooler_output, tensors)
    clip.half().save_pretrained(f"{folder}/clip/text_encoder")
    # Released files have this prefix, which later versions of transformers leave out.
    prefixed = {name if name.startswith("text_model.") else f"text_model.{name}": weight for name, weight in clip.state_dict().items()}
    save_file(prefixed, f"{folder}/clip/text_encoder/model.safetensors", metadata={"format": "pt"})

    tokenizer = reference_t5(f"{folder}/t5")
    config = T5Config(
        vocab_size=1024, d_model=48, d_kv=24, d_ff=80, num_layers=3, num_decoder_layers=1, num_heads=3,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0, tie_word_embeddings=False,
    )
    whole = T5ForConditionalGeneration(config)
    randomize(whole)
    encoder = T5EncoderModel(config)
    encoder.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith(("decoder", "lm_head"))})
    run("t5", encoder, tokenizer, 120, mean, tensors)
    whole.half().save_pretrained(f"{folder}/t5", max_shard_size="120KB")
    os.remove(f"{folder}/t5/generation_config.json")
    distances = torch.arange(-200, 201)
    tensors["t5.buckets"] = T5Attention._relative_position_bucket(distances, bidirectional=True, num_buckets=32, max_distance=128).to(torch.int32)
    save_file(tensors, f"{folder}/text-encoders.safetensors", metadata={"prompts": json.dumps(PROMPTS)})


if __name__ == "__main__":
    main(*sys.argv[1:])
