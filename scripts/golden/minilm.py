"""Writes test/data/minilm.safetensors: ids, states and sentence vectors of odd prompts by the reference MiniLM encoder.

    python scripts/golden/minilm.py models/minilm-l6 test/data/minilm.safetensors

Needs torch, transformers and safetensors. The weights are the float16 ones of the folder widened to float32, so that the
only difference left is the arithmetic. Stored are: `ids.N` (int32), `states.N` (T, 384) and `pooled` (prompts, 384); the
prompts are in the metadata, and `texts`: a JSON list of [text, ids] of strange pieces joined at random, for the tokenizer.
"""

import json
import random
import sys

import torch
from safetensors.torch import load_file, save_file
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel

MAX_LENGTH = 64
PROMPTS = [
    "",
    "a red apple",
    "   \t\n ",
    "a cat 😺 with a 🎩 and 👩‍👩‍👧",
    "Crème brûlée, naïve façade, Ångström and İstanbul",
    "日本語の桜 and 한국어",
    "don't, won't; C++ [MASK] $5.00 (50%) — “quoted”",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 101 + " then a word",
    "null\0byte, bell\x07, zero\u200bwidth and \ufffd",
    "ΑΣ ΣΊΣΥΦΟΣ шапка مرحبا שלום",
    "a very long scene with many things in it, " * 238,
]
PIECES = """apple Résumé naïve 日本語 한국어 가 👩‍👩‍👧‍👦 👍🏽 🇩🇪 e\u0301 a\u0300\u0301 İstanbul ß ﬁ ŉ ΐ Ⓐ ǅ Σίσυφος ΑΣ 𐐀 㐀 豈 \U0002F800 々 〆 ｱ ﾊﾟ 𝔘𝔫𝔦
½ Ⅳ — “q” ¿ 《》 、 don't C++ [MASK] [CLS] [unk] ##ing $5.00 a_b ~ ` ^ | < € שלום مرحبا नमस्ते ไทย \ufffd \ue000 \u00ad \u200b""".split()
PIECES += ["\t", "\n", "\r\n", "\u00a0", "\u3000", "\ufeff", "\0", "\x07", "\x85", "\u2028", "\x0b", "x" * 100, "x" * 101]


def texts(tokenizer: BertWordPieceTokenizer) -> list:
    source = random.Random(1)
    made = ["".join(source.choice(PIECES) + source.choice(["", " "]) for _ in range(source.randint(1, 6))) for _ in range(400)]
    return [[text, tokenizer.encode(text).ids] for text in ["", " ", *PIECES, *made]]


def main(folder: str, out: str) -> None:
    config = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        hidden_act="gelu", layer_norm_eps=1e-12, max_position_embeddings=512, type_vocab_size=2,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    weights = {name: tensor.float() for name, tensor in load_file(f"{folder}/model.safetensors").items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("position_ids" in name or "token_type_ids" in name for name in missing), (missing, unexpected)

    tokenizer = BertWordPieceTokenizer(f"{folder}/vocab.txt", lowercase=True)
    tokenizer.enable_truncation(MAX_LENGTH)
    assert len(PROMPTS[-1]) > 9_900
    tensors, pooled = {}, []
    with torch.inference_mode():
        for i, prompt in enumerate(PROMPTS):
            ids = torch.tensor(tokenizer.encode(prompt).ids)
            states = model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).last_hidden_state[0]
            tensors[f"ids.{i}"] = ids.to(torch.int32)
            tensors[f"states.{i}"] = states.contiguous()
            pooled.append(torch.nn.functional.normalize(states.mean(0), dim=0))
    tensors["pooled"] = torch.stack(pooled)
    save_file(tensors, out, metadata={"prompts": json.dumps(PROMPTS), "max_length": str(MAX_LENGTH), "texts": json.dumps(texts(tokenizer))})


if __name__ == "__main__":
    main(*sys.argv[1:])
