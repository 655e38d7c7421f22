"""STAR's transformer and its sampling loop in plain PyTorch 2: what lib/models/star and lib/sampling are measured against."""

import math

import torch
import torch.nn.functional as F
from torch import nn

HEAD = 64


def rope_table(sizes, theta=10000.0, norm=64.0):
    """(L, D/2) complex rotations: D/4 frequencies of the column, then D/4 of the row, both scaled to [0, norm]."""
    freqs = theta ** (-torch.arange(0, HEAD, 4, dtype=torch.float32) / HEAD)
    parts = []
    for p in sizes:
        at = torch.arange(p, dtype=torch.float32) / max(p - 1, 1) * norm
        row, col = torch.meshgrid(at, at, indexing="ij")
        angle = torch.cat([col.reshape(-1, 1) * freqs, row.reshape(-1, 1) * freqs], 1)
        parts.append(torch.polar(torch.ones_like(angle), angle))
    return torch.cat(parts)


def rotate(x, rope):
    """In float32: there are no complex numbers of bfloat16."""
    return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * rope).flatten(-2)


def working_type():
    """Of what linear layers give: autocast's where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


class Attention(nn.Module):
    """Shared by self- and cross-attention: cosine logits with a learned scale a head."""

    def __init__(self, width):
        super().__init__()
        heads = width // HEAD
        self.scale_mul_1H11 = nn.Parameter(torch.zeros(1, heads, 1, 1))
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def normalize(self, q, k):
        scale = self.scale_mul_1H11.clamp_max(math.log(100)).exp()
        return F.normalize(q, dim=-1) * scale, F.normalize(k, dim=-1)

    def out(self, q, k, v, mask=None):
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return self.proj(y.transpose(1, 2).flatten(2))


class SelfAttention(Attention):
    def __init__(self, width):
        super().__init__(width)
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x, rope, mask=None, cache=None, begin=0):
        bias = torch.cat([self.q_bias, self.zero_k_bias, self.v_bias])
        q, k, v = F.linear(x, self.mat_qkv.weight, bias).unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        q, k = self.normalize(q, k)
        q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            end = begin + x.shape[1]
            cache[0][:, :, begin:end], cache[1][:, :, begin:end] = k, v
            k, v = cache[0][:, :, :end], cache[1][:, :, :end]
        return self.out(q, k, v, mask)


class CrossAttention(Attention):
    def __init__(self, width, text_width):
        super().__init__(width)
        self.mat_q = nn.Linear(width, width, bias=False)
        self.mat_kv = nn.Linear(text_width, 2 * width, bias=False)

    def keys(self, text):
        """Normalized keys and values of the text, computed once a prompt."""
        bias = torch.cat([self.zero_k_bias, self.v_bias])
        k, v = F.linear(text, self.mat_kv.weight, bias).unflatten(-1, (2, -1, HEAD)).permute(2, 0, 3, 1, 4)
        return F.normalize(k, dim=-1), v

    def forward(self, x, keys, mask):
        q = F.linear(x, self.mat_q.weight, self.q_bias).unflatten(-1, (-1, HEAD)).transpose(1, 2)
        scale = self.scale_mul_1H11.clamp_max(math.log(100)).exp()
        return self.out(F.normalize(q, dim=-1) * scale, *keys, mask)


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, text_width):
        super().__init__()
        self.attn = SelfAttention(width)
        self.cross_attn = CrossAttention(width, text_width)
        self.ffn = FeedForward(width)

    def forward(self, x, keys, text_mask, rope, mask=None, cache=None, begin=0):
        def norm(t):
            return F.layer_norm(t, t.shape[-1:], eps=1e-6)

        x = x + self.attn(norm(x), rope, mask, cache, begin)
        x = x + self.cross_attn(norm(x), keys, text_mask)
        return x + self.ffn(norm(x))


class Star(nn.Module):
    def __init__(self, sizes, depth, width, vocab=4096, channels=32, text_width=384):
        super().__init__()
        self.sizes, self.width = sizes, width
        self.pos_start = nn.Parameter(torch.zeros(1, 1, width))
        self.word_embed = nn.Linear(channels, width)
        self.lvl_embed = nn.Embedding(len(sizes), width)
        self.blocks = nn.ModuleList(Block(width, text_width) for _ in range(depth))
        self.head_logits = nn.Linear(width, vocab)
        self.encoder_proj = nn.Linear(text_width, width)
        level = torch.cat([torch.full((p * p,), k) for k, p in enumerate(sizes)])
        self.level = level
        self.rope = rope_table(sizes)
        self.mask = level[:, None] >= level[None, :]

    def start(self, pooled):
        return self.encoder_proj(pooled)[:, None] + self.pos_start

    def head(self, x):
        return self.head_logits(F.layer_norm(x, x.shape[-1:], eps=1e-6)).float()

    def forward(self, inputs, text, pooled, text_mask):
        """inputs (B, L-1, Z), text (B, T, W), pooled (B, W), text_mask bool (B, T) -> logits (B, L, V)"""
        x = torch.cat([self.start(pooled), self.word_embed(inputs)], 1) + self.lvl_embed(self.level)
        for block in self.blocks:
            x = block(x, block.cross_attn.keys(text), text_mask[:, None, None], self.rope, self.mask)
        return self.head(x)


def draw(logits, uniform, top_k, top_p, with_probability=False):
    """One token a row of (…, V) logits, by the inverse of the cumulative sum in index order."""
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k, sorted=False).values.amin(-1, keepdim=True), -math.inf)
    if top_p > 0:
        ordered, index = logits.sort(dim=-1)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
        drop[..., -1] = False
        logits = logits.masked_fill(drop.scatter(-1, index, drop), -math.inf)
    shares = logits.softmax(-1)
    total = shares.double().cumsum(-1)
    tokens = (total <= uniform[..., None].double() * total[..., -1:]).sum(-1)
    if not with_probability:
        return tokens
    return tokens, shares.gather(-1, tokens[..., None])[..., 0]


@torch.inference_mode()
def generate(star, quantizer, text, pooled, text_mask, uniforms, cfg=4.0, top_k=600, top_p=0.8, stable=None):
    """text, pooled, text_mask hold [prompts…, ""…]; uniforms are the draws' in order, (B, p²) each. With `stable`, a
    Stable of stable.py, it makes the tokens of the scales from its first on. Returns the sum of residuals and the tokens."""
    batch = text.shape[0] // 2
    heads, length, side = star.width // HEAD, star.level.numel(), star.sizes[-1]
    caches = [torch.empty(2, 2 * batch, heads, length, HEAD, dtype=working_type()) for _ in star.blocks]
    keys = [block.cross_attn.keys(text) for block in star.blocks]
    mask = text_mask[:, None, None]
    f_hat = torch.zeros(batch, quantizer.channels, side, side)
    x = star.start(pooled)
    begin, tokens, uniforms = 0, [], iter(uniforms)
    for k, p in enumerate(star.sizes):
        end = begin + p * p
        x = x + star.lvl_embed(star.level[begin:end])
        for block, key, cache in zip(star.blocks, keys, caches):
            x = block(x, key, mask, star.rope[begin:end], None, cache, begin)
        cond, uncond = star.head(x).chunk(2)
        t = cfg * k / (len(star.sizes) - 1)
        guided = (1 + t) * cond - t * uncond
        if stable and k >= stable.first:
            tokens.append(stable.tokens(quantizer.embedding.weight, x, pooled, guided, k, uniforms, cfg, top_k, top_p))
        else:
            tokens.append(draw(guided, next(uniforms), top_k, top_p))
        f_hat = f_hat + quantizer.residual(tokens[-1], k, p, side)
        begin = end
        if k + 1 < len(star.sizes):
            size = star.sizes[k + 1]
            x = star.word_embed(F.adaptive_avg_pool2d(f_hat, size).flatten(2).transpose(1, 2)).repeat(2, 1, 1)
    return f_hat, torch.cat(tokens, 1)
