"""Numbers made from a name and an index, the same on both sides (test/golden/README.md gives the rule)."""

import numpy as np
import torch


def uniform(name: str, shape) -> torch.Tensor:
    """float32 in [0, 1)."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = np.arange(int(np.prod(shape)), dtype=np.uint32)
    x *= np.uint32(0x9E3779B9)
    x ^= np.uint32(h)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    x >>= np.uint32(8)
    return torch.from_numpy(x.astype(np.float32)).mul_(2.0**-24).reshape(tuple(shape))


def signed(name: str, shape) -> torch.Tensor:
    """float32 in [-1, 1)."""
    return uniform(name, shape).mul_(2).sub_(1)


def fill(module: torch.nn.Module, prefix: str, ranges) -> None:
    """parameter = base + scale * signed(prefix + name), with (base, scale) = ranges(name, shape)."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            base, scale = ranges(name, tuple(tensor.shape))
            tensor.copy_(signed(prefix + name, tensor.shape).mul_(float(np.float32(scale))).add_(float(np.float32(base))))
