"""The decoding half of STAR's tokenizer in plain PyTorch 2: codebook, residual convolutions and the convolutional decoder."""

import torch
import torch.nn.functional as F
from torch import nn


def norm(channels):
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        y = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class SpatialAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        return x + self.proj_out(y.reshape(x.shape))


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Decoder(nn.Module):
    def __init__(self, base, channels, multipliers, blocks=3):
        super().__init__()
        width = base * multipliers[-1]
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.mid = nn.Module()
        self.mid.block_1, self.mid.attn_1, self.mid.block_2 = ResBlock(width, width), SpatialAttention(width), ResBlock(width, width)
        levels = []
        for i in reversed(range(len(multipliers))):
            level = nn.Module()
            level.block, level.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(blocks):
                level.block.append(ResBlock(width, base * multipliers[i]))
                width = base * multipliers[i]
                if i == len(multipliers) - 1:
                    level.attn.append(SpatialAttention(width))
            if i > 0:
                level.upsample = Upsample(width)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out, self.conv_out = norm(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        x = self.mid.block_2(self.mid.attn_1(self.mid.block_1(self.conv_in(x))))
        for i in reversed(range(len(self.up))):
            level = self.up[i]
            for j, block in enumerate(level.block):
                x = block(x)
                if len(level.attn):
                    x = level.attn[j](x)
            if i > 0:
                x = level.upsample(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Quantizer(nn.Module):
    def __init__(self, vocab, channels, scales, shared=4):
        super().__init__()
        self.channels = channels
        self.embedding = nn.Embedding(vocab, channels)
        self.quant_resi = nn.Module()
        self.quant_resi.qresi_ls = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(shared))
        ticks = torch.linspace(1 / 3 / shared, 1 - 1 / 3 / shared, shared, dtype=torch.float64)
        self.phi = [int((ticks - k / (scales - 1)).abs().argmin()) for k in range(scales)]

    def residual(self, tokens, k, p, side):
        """What scale k adds to f̂: tokens (B, p²) looked up, raised to side×side and smoothed by φ."""
        h = self.embedding(tokens).transpose(1, 2).unflatten(-1, (p, p))
        if p != side:
            h = F.interpolate(h, size=(side, side), mode="bicubic")
        return 0.5 * h + 0.5 * self.quant_resi.qresi_ls[self.phi[k]](h)


class Tokenizer(nn.Module):
    """Names are those of the whole VQVAE, of which this is the half that sampling uses."""

    def __init__(self, base, vocab=4096, channels=32, scales=10, multipliers=(1, 1, 2, 2, 4)):
        super().__init__()
        self.decoder = Decoder(base, channels, multipliers)
        self.quantize = Quantizer(vocab, channels, scales)
        self.post_quant_conv = nn.Conv2d(channels, channels, 3, padding=1)

    @torch.inference_mode()
    def decode(self, f_hat):
        return self.decoder(self.post_quant_conv(f_hat)).clamp(-1, 1)
