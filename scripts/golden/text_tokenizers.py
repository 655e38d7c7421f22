"""Writes the small vocabularies of test/data and the ids that the reference tokenizers give for odd texts.

    python scripts/golden/text_tokenizers.py node_modules/emojibase-data test/data

Needs transformers, tokenizers and sentencepiece. Both vocabularies are trained on the captions of emojibase-data, in the
form of the released ones: byte-level BPE with `</w>` as CLIP has it, and a SentencePiece unigram model with the nmt_nfkc
rules of T5. Written are:

    clip/tokenizer/                            vocab.json, merges.txt and the special tokens as Stable Diffusion 2.1 ships them
    clip/one-file/tokenizer.json               the same as one file, as transformers writes it
    t5/spiece.model
    t5/one-file/tokenizer.json                 the same as transformers writes it, without the character rules (spiece.model has them)
    text-tokenizers.json                       [text, ids of CLIP, ids of T5] for each text, uncut, special tokens included
"""

import json
import os
import random
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import models, trainers
from transformers import AutoTokenizer, CLIPTokenizer

LANGUAGES = ["en", "de", "fr", "ja", "ko", "ru", "hi", "th"]
PIECES = """apple Résumé naïve 日本語 한국어 가 👩‍👩‍👧‍👦 👍🏽 🇩🇪 e\u0301 a\u0300\u0301 İstanbul ß ﬁ ŉ ΐ Ⓐ ǅ Σίσυφος ΑΣ 𐐀 㐀 豈 \U0002F800 々 〆 ｱ ﾊﾟ 𝔘𝔫𝔦
! !! ½ Ⅳ ² ㎏ ㍿ ﷺ — “q” ¿ 《》 、 … ～ ~ ` ^ | < € don't C++ I'LL we've 'S 's ''s it'd $5.00 a_b 1234 ١٢٣ v2.1 שלום مرحبا नमस्ते ไทย Ελληνικά
</s> <pad> <unk> <extra_id_0> <extra_id_99> <extra_id_100> <|endoftext|> <|startoftext|> <|EndOfText|> <s> ▁ ▁▁apple a▁b \ufffd \ue000 \u00ad""".split()
PIECES += ["\t", "\n", "\r\n", "\u00a0", "\u3000", "\ufeff", "\0", "\x07", "\x7f", "\x85", "\x9f", "\u2028", "\x0b", "\x1c", "\u200b", "\u200d", "\u2003", "\u0301"]
LONG = ["x" * 300, "supercalifragilistic" * 20, "日本語" * 200, "a very long scene with many things in it, " * 238, "👩‍👩‍👧‍👦" * 30, " " * 1000, "word " * 200]


def captions(folder: str) -> list[str]:
    found = []
    for language in LANGUAGES:
        with open(f"{folder}/{language}/data.json", encoding="utf8") as file:
            for entry in json.load(file):
                found.append(", ".join([entry["label"], *entry.get("tags", [])]))
    return found


def odd_texts(corpus: list[str]) -> list[str]:
    source = random.Random(7)
    made = ["".join(source.choice(PIECES) + source.choice(["", " "]) for _ in range(source.randint(1, 6))) for _ in range(250)]
    # Letters, marks and signs from anywhere in the planes that have any.
    known = [chr(c) for c in [*range(1, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x10000), *range(0x10000, 0x11000), *range(0x1D000, 0x20000)] if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    strange = ["".join(source.choice(known) for _ in range(source.randint(1, 24))) for _ in range(250)]
    composed = ["".join(source.choice("aeiounçAEIÖ кж가") + source.choice(["", "\u0301", "\u0308", "\u0327", "\u0323\u0301", "\u200d"]) for _ in range(8)) for _ in range(40)]
    return ["", " ", *PIECES, *LONG, *made, *strange, *composed, *source.sample(corpus, 100)]


def train_clip(corpus: list[str], folder: str) -> None:
    # CLIP's own order of ids: the 256 bytes, the bytes at a word's end, the merges, the two special tokens.
    base = CLIPTokenizer()._tokenizer
    base.model = models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix="")
    base.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix="</w>", show_progress=False))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in json.loads(base.to_str())["model"]["merges"]][:500]
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    letters = [chr(b) for b in visible] + [chr(256 + i) for i in range(len(hidden))]
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split(" ")) for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/vocab.json", "w", encoding="utf8") as file:
        json.dump({piece: i for i, piece in enumerate(pieces)}, file, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w", encoding="utf8") as file:
        file.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    # The padding token "!" and special tokens that are looked for in the lower-case text: as Stable Diffusion 2.1 has it.
    start, end = ({"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} for content in pieces[-2:])
    with open(f"{folder}/special_tokens_map.json", "w") as file:
        json.dump({"bos_token": start, "eos_token": end, "pad_token": "!", "unk_token": end}, file, indent=2)
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"do_lower_case": True, "model_max_length": 77, "pad_token": end["content"], "tokenizer_class": "CLIPTokenizer"}, file, indent=2)


def train_t5(corpus: list[str], folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        with open(f"{scratch}/corpus.txt", "w", encoding="utf8") as file:
            file.write("\n".join(corpus))
        sentencepiece.SentencePieceTrainer.train(
            input=f"{scratch}/corpus.txt", model_prefix=f"{scratch}/spiece", vocab_size=900, character_coverage=0.985,
            model_type="unigram", normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
            num_threads=1,
        )
        with open(f"{scratch}/spiece.model", "rb") as file, open(f"{folder}/spiece.model", "wb") as out:
            out.write(file.read())


def reference_t5(folder: str):
    with tempfile.TemporaryDirectory() as scratch:
        with open(f"{scratch}/config.json", "w") as file:
            json.dump({"model_type": "t5"}, file)
        os.symlink(os.path.abspath(f"{folder}/spiece.model"), f"{scratch}/spiece.model")
        return AutoTokenizer.from_pretrained(scratch)


def main(source: str, out: str) -> None:
    corpus = captions(source)
    train_clip(corpus, f"{out}/clip/tokenizer")
    train_t5(corpus, f"{out}/t5")
    clip = AutoTokenizer.from_pretrained(f"{out}/clip/tokenizer")
    assert clip("!", add_special_tokens=False)["input_ids"] == [clip.pad_token_id] == [0]
    os.makedirs(f"{out}/clip/one-file", exist_ok=True)
    with open(f"{out}/clip/one-file/tokenizer.json", "w", encoding="utf8") as file:
        json.dump(json.loads(clip._tokenizer.to_str()), file, ensure_ascii=False, separators=(",", ":"))
    t5 = reference_t5(f"{out}/t5")
    definition = json.loads(t5._tokenizer.to_str())
    assert definition["normalizer"]["type"] == "Precompiled", definition["normalizer"]
    definition["normalizer"]["precompiled_charsmap"] = ""
    os.makedirs(f"{out}/t5/one-file", exist_ok=True)
    with open(f"{out}/t5/one-file/tokenizer.json", "w", encoding="utf8") as file:
        json.dump(definition, file, ensure_ascii=False, separators=(",", ":"))
    texts = odd_texts(corpus)
    with open(f"{out}/text-tokenizers.json", "w", encoding="utf8") as file:
        rows = [[text, clip(text)["input_ids"], t5(text)["input_ids"]] for text in texts]
        file.write("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
