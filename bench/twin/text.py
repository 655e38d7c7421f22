"""The text encoders in plain PyTorch 2, with the released names: what lib/models/text is measured against."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def heads_of(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Named(nn.Module):
    """A module whose children may have dots in their names, as released files name them."""

    def put(self, name, module):
        *path, last = name.split(".")
        at = self
        for part in path:
            if not hasattr(at, part):
                at.add_module(part, nn.Module())
            at = getattr(at, part)
        at.add_module(last, module)
        return [module]  # in a list, so that it is not registered twice


class ClipText(Named):
    def __init__(self, config):
        super().__init__()
        width, hidden, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.heads = config["num_attention_heads"]
        self.token = self.put("text_model.embeddings.token_embedding", nn.Embedding(config["vocab_size"], width))
        self.place = self.put("text_model.embeddings.position_embedding", nn.Embedding(config["max_position_embeddings"], width))
        self.blocks = []
        for i in range(config["num_hidden_layers"]):
            at = f"text_model.encoder.layers.{i}."
            block = {name: self.put(f"{at}self_attn.{name}_proj", nn.Linear(width, width)) for name in ("q", "k", "v", "out")}
            block["norm1"] = self.put(f"{at}layer_norm1", nn.LayerNorm(width, eps))
            block["norm2"] = self.put(f"{at}layer_norm2", nn.LayerNorm(width, eps))
            block["fc1"] = self.put(f"{at}mlp.fc1", nn.Linear(width, hidden))
            block["fc2"] = self.put(f"{at}mlp.fc2", nn.Linear(hidden, width))
            self.blocks.append({name: layer[0] for name, layer in block.items()})
        self.norm = self.put("text_model.final_layer_norm", nn.LayerNorm(width, eps))

    def forward(self, ids, mask):
        """ids (B, T) -> states (B, T, W)"""
        x = self.token[0](ids) + self.place[0].weight[: ids.shape[1]]
        for b in self.blocks:
            n = b["norm1"](x)
            q, k, v = (heads_of(b[name](n), self.heads) for name in ("q", "k", "v"))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + b["out"](y.transpose(1, 2).flatten(2))
            x = x + b["fc2"](F.gelu(b["fc1"](b["norm2"](x))))
        return self.norm[0](x)


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class T5(Named):
    def __init__(self, config):
        super().__init__()
        width, hidden, eps = config["d_model"], config["d_ff"], config["layer_norm_epsilon"]
        self.heads = config["num_heads"]
        self.buckets, self.far = config["relative_attention_num_buckets"], config["relative_attention_max_distance"]
        inner = self.heads * config["d_kv"]
        self.token = self.put("shared", nn.Embedding(config["vocab_size"], width))
        first = "encoder.block.0.layer.0.SelfAttention."
        self.distance = self.put(f"{first}relative_attention_bias", nn.Embedding(self.buckets, self.heads))
        self.blocks = []
        for i in range(config["num_layers"]):
            at = f"encoder.block.{i}.layer."
            block = {name: self.put(f"{at}0.SelfAttention.{name}", nn.Linear(width, inner, bias=False)) for name in "qkv"}
            block["o"] = self.put(f"{at}0.SelfAttention.o", nn.Linear(inner, width, bias=False))
            block["norm1"] = self.put(f"{at}0.layer_norm", RmsNorm(width, eps))
            block["gate"] = self.put(f"{at}1.DenseReluDense.wi_0", nn.Linear(width, hidden, bias=False))
            block["expand"] = self.put(f"{at}1.DenseReluDense.wi_1", nn.Linear(width, hidden, bias=False))
            block["reduce"] = self.put(f"{at}1.DenseReluDense.wo", nn.Linear(hidden, width, bias=False))
            block["norm2"] = self.put(f"{at}1.layer_norm", RmsNorm(width, eps))
            self.blocks.append({name: layer[0] for name, layer in block.items()})
        self.norm = self.put("encoder.final_layer_norm", RmsNorm(width, eps))

    def bias(self, mask):
        """(B, H, T, T): by distance, and -inf for padding."""
        at = torch.arange(mask.shape[1])
        distance = at[None] - at[:, None]
        half, exact = self.buckets // 2, self.buckets // 4
        size = distance.abs()
        large = exact + ((size.clamp_min(1).float() / exact).log() / math.log(self.far / exact) * (half - exact)).long()
        bucket = torch.where(size < exact, size, large.clamp_max(half - 1)) + half * (distance > 0)
        return self.distance[0](bucket).permute(2, 0, 1)[None].masked_fill(~mask[:, None, None], -math.inf)

    def forward(self, ids, mask):
        """ids (B, T), mask bool (B, T) -> states (B, T, W)"""
        bias = self.bias(mask)
        x = self.token[0](ids)
        for b in self.blocks:
            n = b["norm1"](x)
            q, k, v = (heads_of(b[name](n), self.heads) for name in "qkv")
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
            x = x + b["o"](y.transpose(1, 2).flatten(2))
            n = b["norm2"](x)
            x = x + b["reduce"](F.gelu(b["gate"](n), approximate="tanh") * b["expand"](n))
        return self.norm[0](x)


MODELS = {"clip_text_model": ClipText, "t5": T5}
