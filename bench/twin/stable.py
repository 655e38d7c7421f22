"""The sampler head and causal-driven stable sampling, version '1024' below the 14th scale, in plain PyTorch 2."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from star import FeedForward, SelfAttention, draw, rope_table

STEPS, RANDOM_STEPS = 8, 5


class SelfBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn, self.ffn = SelfAttention(width), FeedForward(width)

    def forward(self, x, rope):
        x = x + self.attn(F.layer_norm(x, x.shape[-1:], eps=1e-6), rope)
        return x + self.ffn(F.layer_norm(x, x.shape[-1:], eps=1e-6))


class SamplerHead(nn.Module):
    def __init__(self, sizes, width, vocab, channels, text_width):
        super().__init__()
        self.pos_start_last = nn.Parameter(torch.zeros(1, 1, width))
        self.word_embed_head = nn.Linear(channels, width)
        self.encoder_proj2 = nn.Linear(text_width, width)
        self.lvl_embed_2 = nn.Embedding(len(sizes), width)
        self.head_proj = nn.Linear(2 * width, width)
        self.feat_extract_blocks = nn.ModuleList(SelfBlock(width) for _ in range(3))
        self.head_logits2 = nn.Linear(width, vocab)
        begins = [sum(p * p for p in sizes[:k]) for k in range(len(sizes) + 1)]
        still = torch.ones(1, rope_table([1]).shape[1], dtype=torch.complex64)
        self.ropes = [torch.cat([still, rope_table(sizes)[a:b]]) for a, b in zip(begins, begins[1:])]

    def forward(self, rows, features, pooled, k):
        """rows (B, n, Z), features (B, n, C) of scale k, pooled (B, W) -> logits (B, n, V)"""
        front = self.encoder_proj2(pooled)[:, None] + self.pos_start_last
        known = self.word_embed_head(rows) + self.lvl_embed_2.weight[k]
        x = self.head_proj(torch.cat([torch.cat([front, known], 1), torch.cat([front, features], 1)], 2))
        for block in self.feat_extract_blocks:
            x = block(x, self.ropes[k])
        x = x[:, 1:]
        return self.head_logits2(F.layer_norm(x, x.shape[-1:], eps=1e-6)).float()


def schedule(steps, count):
    """How many tokens each step fixes."""
    shares = [math.acos(1 - s / (steps - 1)) for s in range(steps)]
    counts, left = [], count
    for s, share in enumerate(shares):
        counts.append(left if s == steps - 1 else min(left, max(1, round(share / sum(shares) * count))))
        left -= counts[-1]
    return counts


def fix(ids, known, drawn, score, count, among_all=False):
    """The highest scores become known, the lowest position first on a tie; in place."""
    if not among_all:
        score = score.masked_fill(known, -math.inf)
    chosen = score.sort(dim=-1, descending=True, stable=True).indices[:, :count]
    new = torch.zeros_like(known).scatter_(1, chosen, True) & ~known
    ids[new] = drawn[new]
    known |= new


class Stable:
    def __init__(self, head, first, orders):
        """From scale `first` on; `orders` are the uniforms of random orders, (B, p²) each."""
        self.head, self.first, self.all_orders = head, first, orders

    def start(self):
        self.orders = iter(self.all_orders)
        return self

    def tokens(self, codebook, features, pooled, from_transformer, k, uniforms, cfg, top_k, top_p):
        ids = torch.zeros(from_transformer.shape[:2], dtype=torch.long)
        known = torch.zeros_like(ids, dtype=torch.bool)
        for step, count in enumerate(schedule(STEPS, ids.shape[1])):
            early = step < RANDOM_STEPS
            logits = from_transformer if early else self.logits(codebook, ids, known, features, pooled, k, cfg)
            drawn, probability = draw(logits, next(uniforms), top_k, top_p, with_probability=True)
            if early:
                fix(ids, known, drawn, probability, count, among_all=True)
            fix(ids, known, drawn, next(self.orders) if early else probability, count)
        return ids

    def logits(self, codebook, ids, known, features, pooled, k, cfg):
        rows = (codebook[ids] * known[..., None]).repeat(2, 1, 1)
        cond, uncond = self.head(rows, features, pooled, k).chunk(2)
        return (1 + cfg) * cond - cfg * uncond
