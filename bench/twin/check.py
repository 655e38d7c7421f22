"""Holds the twin against the golden numbers, so that it is a fair peer: python bench/twin/check.py [test/golden [test/data]]"""

import glob
import json
import sys

import torch
from safetensors import safe_open

from rule import fill, signed, uniform
from star import Star, generate
from text import MODELS
from vqvae import Tokenizer


def read(path):
    with safe_open(path, "pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def ranges_of(table):
    return lambda name, shape: (table[name]["base"], table[name]["scale"])


def distance(got, want):
    return ((got - want).norm() / want.norm()).item()


def check_text(folder):
    _, want = read(f"{folder}/text-encoders.safetensors")
    for name, part in (("clip", "clip/text_encoder"), ("t5", "t5")):
        with open(f"{folder}/{part}/config.json") as file:
            config = json.load(file)
        model = MODELS[config["model_type"]](config)
        weights = {}
        for shard in sorted(glob.glob(f"{folder}/{part}/*.safetensors")):
            weights.update(read(shard)[1])
        model.load_state_dict({key: weights[key].float() for key in model.state_dict()})
        ids = want[f"{name}.ids.3"].long()[None]
        with torch.inference_mode():
            states = model(ids, torch.ones_like(ids, dtype=torch.bool))[0]
        print(f"{name} states", distance(states, want[f"{name}.states.3"]))


def main(folder="test/golden", data="test/data"):
    check_text(data)
    meta, want = read(f"{folder}/transformer.safetensors")
    config, prefix = json.loads(meta["config"]), meta["prefix"]
    table = json.loads(meta["parameters"])["base"]
    width, sizes = table["pos_start"]["shape"][2], config["pn"]
    star = Star(sizes, config["depth"], width, config["V"], config["Z"], config["xdim"])
    fill(star, prefix + "base/", ranges_of(table))
    batch = want["targets"].shape[0]
    inputs = want["input"]
    text = signed(prefix + "text", (batch, config["tlen"], config["xdim"]))
    pooled = signed(prefix + "pooled", (batch, config["xdim"]))
    logits = star(inputs, text, pooled, want["text_mask"].bool())
    print("logits", distance(logits, want["base.per-sample.logits"]))

    meta, want = read(f"{folder}/tokenizer.safetensors")
    table = json.loads(meta["parameters"])
    tokenizer = Tokenizer(config["ch"], config["V"], config["Z"], len(sizes))
    fill(tokenizer, prefix, ranges_of(table))
    f_hat = sum(
        tokenizer.quantize.residual(want[f"indices.{k}"].long(), k, p, sizes[-1]) for k, p in enumerate(sizes)
    )
    print("f_hat", distance(f_hat, want[f"f_hat.{len(sizes) - 1}"]))
    print("image", distance(tokenizer.decode(f_hat), want["image_out"].float()))

    meta, want = read(f"{folder}/sampling.safetensors")
    settings, sizes = json.loads(meta["settings"]), json.loads(meta["patch_nums"])
    star = Star(sizes, config["depth"], width, config["V"], config["Z"], config["xdim"])
    fill(star, prefix + "sampler/", ranges_of(json.loads(meta["parameters"])))
    tokenizer = Tokenizer(config["ch"], config["V"], config["Z"], len(sizes))
    table = json.loads(meta["tokenizer_parameters"])
    fill(tokenizer.quantize, prefix + "quantize.", lambda name, shape: ranges_of(table)("quantize." + name, shape))
    batch, lengths = settings["batch"], json.loads(meta["text_lengths"])
    text = signed(prefix + "s_text", (2 * batch, config["tlen"], config["xdim"]))
    pooled = signed(prefix + "s_pooled", (2 * batch, config["xdim"]))
    mask = torch.arange(config["tlen"])[None] < torch.tensor(lengths)[:, None]
    salt = json.loads(meta["salts"])["plain.per-sample"]
    uniforms = [uniform(f"{prefix}{salt}/draw:{k}", (batch, p * p)) for k, p in enumerate(sizes)]
    f_hat, tokens = generate(star, tokenizer.quantize, text, pooled, mask, uniforms, settings["cfg"], settings["top_k"], settings["top_p"])
    flat = torch.cat([part.flatten() for part in tokens.split([p * p for p in sizes], 1)])
    print("tokens equal", (flat == want["plain.per-sample.draws"]).float().mean().item())
    print("f_hat of a run", distance(f_hat, want["plain.per-sample.f_hat"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
