"""The peer's side of the benchmark: reads one JSON request a line, answers with one JSON line.

{"op": "open", "case": {...}}                builds the case's model and inputs
{"op": "check", "mode": "f32", "file": path} runs the case once from its first weights and writes what it gives as safetensors
{"op": "time", "mode": "bf16-compiled"}      runs the case once and answers {"ms": ...}
{"op": "close"}                              frees the model

A mode is the precision, f32 or bf16 (autocast), and "-compiled" where torch.compile takes the model.
"""

import gc
import json
import math
import sys
import time
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
import torch._dynamo
from safetensors.torch import save_file

from rule import fill, signed, uniform
from stable import RANDOM_STEPS, STEPS, SamplerHead, Stable
from star import Star, generate
from text import MODELS
from vqvae import Tokenizer

PREFIX = "bench:"


def ranges(name, shape):
    """Where a parameter's values lie; bench/rule.ts says the same."""
    if name.endswith("zero_k_bias"):
        return 0, 0
    if name.endswith("scale_mul_1H11"):
        return math.log(4), 0.1
    if "norm" in name:
        return (1, 0.1) if name.endswith("weight") else (0, 0.1)
    if name in ("pos_start", "lvl_embed.weight"):
        return 0, 0.5
    if name.endswith("embedding.weight"):
        return 0, 1
    if len(shape) == 1:
        return 0, 0.1
    # T5 has no factor on the scores: its q is small instead.
    part = 0.125 if name.endswith("SelfAttention.q.weight") else 1
    return 0, part * math.sqrt(3 / math.prod(shape[1:]))


def decays(name, tensor):
    return tensor.ndim > 1 and not any(part in name for part in ("pos_start", "lvl_embed", "scale_mul"))


class Timed:
    """A case that run() runs once; outputs() are those of a first run."""

    def outputs(self):
        return self.run()

    def check(self, mode, file):
        with in_mode(mode):
            out = self.outputs()
        save_file({name: tensor.to(torch.int32 if name == "tokens" else torch.float32).contiguous() for name, tensor in out.items()}, file)

    def time(self, mode):
        with in_mode(mode):
            begin = time.perf_counter()
            self.run()
            return (time.perf_counter() - begin) * 1000


@contextmanager
def in_mode(mode):
    precision, _, compiled = mode.partition("-")
    with torch.compiler.set_stance("default" if compiled else "force_eager"):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            yield


class TextCase(Timed):
    def __init__(self, case):
        config, shape = case["config"], (case["batch"], case["textTokens"])
        self.model = MODELS[config["model_type"]](config)
        fill(self.model, PREFIX, ranges)
        self.model.compile()
        self.ids = (uniform(PREFIX + "ids", shape) * config["vocab_size"]).long()
        self.mask = torch.arange(shape[1])[None] < torch.tensor(case["textLengths"])[:, None]

    def run(self):
        with torch.inference_mode():
            return {"states": self.model(self.ids, self.mask) * self.mask[..., None]}


class Case(Timed):
    def __init__(self, case):
        self.kind, self.sizes, self.batch = case["kind"], case["patchNums"], case["batch"]
        self.sampling = case.get("sampling")
        z, vocab, width = case["latentChannels"], case["vocabSize"], case["textWidth"]
        length = sum(p * p for p in self.sizes)
        if self.kind in ("generate", "decode"):
            self.tokenizer = Tokenizer(case["baseChannels"], vocab, z, len(self.sizes), case["channelMultipliers"])
            fill(self.tokenizer, PREFIX, ranges)
            self.tokenizer.to(memory_format=torch.channels_last)
            self.tokenizer.decoder.compile()
        if self.kind == "decode":
            side = self.sizes[-1]
            self.f_hat = signed(PREFIX + "f_hat", (self.batch, side, side, z)).permute(0, 3, 1, 2)
            return
        self.star = Star(self.sizes, case["depth"], case["width"], vocab, z, width)
        fill(self.star, PREFIX, ranges)
        rows = self.batch * 2 if self.kind == "generate" else self.batch
        tokens = case["textTokens"]
        self.text = signed(PREFIX + "text", (rows, tokens, width))
        self.pooled = signed(PREFIX + "pooled", (rows, width))
        self.mask = torch.arange(tokens)[None] < torch.tensor(case["textLengths"])[:, None]
        if self.kind == "generate":
            # Blocks are compiled once for all of them; the loop around them changes shape at every scale.
            compile_each(self.star.blocks)
            self.stable = None
            first = case.get("stableFrom", len(self.sizes))
            self.uniforms = self.noise("draw", [p for k, p in enumerate(self.sizes) for _ in range(STEPS if k >= first else 1)])
            if first < len(self.sizes):
                head = SamplerHead(self.sizes, case["width"], vocab, z, width)
                fill(head, PREFIX, ranges)
                compile_each(head.feat_extract_blocks)
                self.stable = Stable(head, first, self.noise("order", [p for p in self.sizes[first:] for _ in range(RANDOM_STEPS)]))
            return
        self.star.compile()
        self.inputs = signed(PREFIX + "input", (self.batch, length - 1, z))
        if self.kind == "train":
            self.targets = (uniform(PREFIX + "targets", (self.batch, length)) * vocab).long()
            self.named = list(self.star.named_parameters())
            self.begin()

    def begin(self):
        """The first weights, before any step."""
        fill(self.star, PREFIX, ranges)
        groups = [{"params": [p for n, p in self.named if decays(n, p) == on], "weight_decay": 0.05 * on} for on in (True, False)]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def noise(self, kind, sides):
        return [uniform(f"{PREFIX}{kind}:{i}", (self.batch, p * p)) for i, p in enumerate(sides)]

    def logits(self):
        return self.star(self.inputs, self.text, self.pooled, self.mask)

    def step(self, exact_norm=False):
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.logits().flatten(0, 1), self.targets.flatten())
        with torch.autocast("cpu", enabled=False):  # backward takes the types of forward
            loss.backward()
        out = {"loss": loss.detach().reshape(1)}
        if exact_norm:  # what clip_grad_norm_ returns sums squares in float32, off by 1e-4 on tensors of millions
            squares = sum(p.grad.double().square().sum() for _, p in self.named)
            out["gradient_norm"] = squares.sqrt().float().reshape(1)
        torch.nn.utils.clip_grad_norm_(self.star.parameters(), 2.0)
        self.optimizer.step()
        return out

    def run(self):
        if self.kind == "forward":
            with torch.inference_mode():
                return {"logits": self.logits()}
        if self.kind == "train":
            return self.step()
        if self.kind == "decode":
            return {"pixels": self.decode(self.f_hat)}
        s = self.sampling
        stable = self.stable.start() if self.stable else None
        f_hat, tokens = generate(self.star, self.tokenizer.quantize, self.text, self.pooled, self.mask, self.uniforms, s["cfg"], s["topK"], s["topP"], stable)
        return {"tokens": tokens, "image": self.decode(f_hat)}

    def decode(self, f_hat):
        """f̂ (B, Z, h, w) -> pixels (B, H, W, 3)"""
        return self.tokenizer.decode(f_hat.to(memory_format=torch.channels_last)).permute(0, 2, 3, 1)

    def outputs(self):
        if self.kind != "train":
            return self.run()
        self.begin()
        out = self.step(exact_norm=True)
        out["second_loss"] = self.run()["loss"]
        return out


def compile_each(blocks):
    for block in blocks:
        block.compile()


def main(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # Shapes of one case are few, and each is compiled: a case has as many scales.
    torch._dynamo.config.recompile_limit = 64
    case = None
    print(json.dumps({"torch": torch.__version__, "numpy": np.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if request["op"] == "open":
            case = (TextCase if request["case"]["kind"] == "text" else Case)(request["case"])
        elif request["op"] == "check":
            case.check(request["mode"], request["file"])
        elif request["op"] == "time":
            answer["ms"] = case.time(request["mode"])
        elif request["op"] == "close":
            case = None
            torch.compiler.reset()
            gc.collect()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
