"""Writes test/data/efficientnet-lite0.safetensors: features, logits and an image's gradient by EfficientNet-Lite0 in PyTorch.

    python scripts/golden/efficientnet.py test/data/efficientnet-lite0.safetensors

Needs torch, safetensors and efficientnet_lite_pytorch. Weights are made by the rule of test/golden/README.md, so they are not stored:
parameter "name" has the values base + scale·signed("efficientnet:" + name), base and scale in the metadata. Stored are, of two images
signed("efficientnet:images.47") of 33×20 pixels, the outputs of the five feature stages (NHWC), the logits, and the gradient of
mean(logits²) + Σ mean(features²) in the images.
"""

import json
import sys

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

STAGES = [0, 2, 4, 10, 15]  # last block of each resolution
SIZE = (33, 20)
# Of 150 names tried one whose activations keep farthest from the kinks of ReLU6, where rounding would decide the gradient.
IMAGES = "efficientnet:images.47"


def signed(name: str, shape) -> torch.Tensor:
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    x = ((i * 0x9E3779B9) & 0xFFFFFFFF) ^ h
    x ^= x >> np.uint64(16)
    x = (x * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(13)
    x = (x * np.uint64(0xC2B2AE35)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    uniform = ((x >> np.uint64(8)).astype(np.float32)) / np.float32(2**24)
    return torch.from_numpy((2 * uniform - 1).astype(np.float32)).reshape(tuple(shape))


def rule(name: str, shape) -> tuple[float, float]:
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("running_mean") or name.endswith("bias"):
        return 0.0, 0.2
    if len(shape) == 1:
        return 1.2, 0.3
    return 0.0, float(np.sqrt(4.0 / np.prod(shape[1:])))


def main(out: str) -> None:
    # Without a size of images each convolution pads as the image at hand needs.
    model = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    rules = {}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            base, scale = rule(name, tensor.shape)
            rules[name] = {"shape": list(tensor.shape), "base": base, "scale": scale}
            tensor.copy_(np.float32(base) + np.float32(scale) * signed("efficientnet:" + name, tensor.shape))
    images = signed(IMAGES, (2, *SIZE, 3)).permute(0, 3, 1, 2).contiguous().requires_grad_()
    features = []
    hooks = [model._blocks[i].register_forward_hook(lambda _m, _i, y: features.append(y)) for i in STAGES]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    loss = (logits**2).mean() + sum((f**2).mean() for f in features)
    loss.backward()
    nhwc = lambda x: x.detach().permute(0, 2, 3, 1).contiguous()
    tensors = {f"features.{i}": nhwc(f) for i, f in enumerate(features)}
    tensors |= {"logits": logits.detach(), "gradient": nhwc(images.grad)}
    print({name: (tuple(t.shape), float(t.abs().mean())) for name, t in tensors.items()}, loss.item())
    save_file(tensors, out, metadata={"rules": json.dumps(rules)})


if __name__ == "__main__":
    main(*sys.argv[1:])
