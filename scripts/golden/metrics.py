"""Writes what reference implementations make of random pictures: Inception features and their FID, CLIP scores, SSIM.

    python scripts/golden/metrics.py test/data

Needs torch, torchvision, transformers, safetensors, scipy, pillow and pytorch-fid 0.3.0, and the tokenizer that
text_tokenizers.py left in the folder. Pictures and the weights of Inception are made by the rule of test/golden/README.md, so they
are not stored: picture "name" of (height, width) has the bytes floor(256·uniform("metrics:" + name)), and Inception's parameter "name"
the values base + scale·signed("inception:" + name), base and scale in the metadata. Written are

    clip/whole/            config.json and model.safetensors (float16) of a CLIP model with random weights
    metrics.safetensors    inception.a, inception.b: features of two sets of pictures by pytorch-fid's network (n, 2048), fid: the
                           distance of the two; clip.scores: 100·cosine of each picture and prompt; bicubic.N: what Pillow makes of a
                           picture before CLIP sees it; ssim: of pairs of pictures of one size
"""

import json
import sys

import numpy as np
import torch
from pytorch_fid import fid_score, inception
from PIL import Image
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torchvision import transforms
from transformers import AutoTokenizer, CLIPConfig, CLIPModel

from efficientnet import rule, signed
from text_encoders import randomize

# (height, width)
SET_A = [(48, 40), (32, 32), (64, 64), (40, 56), (90, 30)]
SET_B = [(48, 40), (32, 32), (301, 310), (64, 64), (31, 77), (20, 20)]
CLIP_PICTURES = [(50, 37), (20, 61), (32, 32), (97, 130)]
PROMPTS = ["a red apple", "wow! what a cat!", ""]
SIDE = 32


def picture(name: str, size) -> np.ndarray:
    values = (signed(f"metrics:{name}", (*size, 3)).numpy().astype(np.float64) + 1) / 2
    return np.floor(256 * values).astype(np.uint8)


def random_inception(rules: dict) -> torch.nn.Module:
    """pytorch-fid's network, given our weights where it would download the published ones."""
    def weights(*_args, **_keywords):
        state = {}
        for name, tensor in inception._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict().items():
            if name.endswith("num_batches_tracked"):
                state[name] = tensor
                continue
            base, scale = rule(name, tensor.shape)
            if not name.startswith("fc."):
                rules[name] = {"shape": list(tensor.shape), "base": base, "scale": scale}
            state[name] = np.float32(base) + np.float32(scale) * signed("inception:" + name, tensor.shape)
        return state

    inception.load_state_dict_from_url = weights
    return inception.InceptionV3([3]).eval()


def features(model: torch.nn.Module, name: str, sizes) -> torch.Tensor:
    with torch.inference_mode():
        rows = [model(transforms.ToTensor()(picture(f"{name}.{i}", size))[None])[0] for i, size in enumerate(sizes)]
    return torch.cat(rows).reshape(len(sizes), -1)


def fid(a: np.ndarray, b: np.ndarray) -> float:
    """With fewer pictures than features the root of C1·C2 is singular; its trace is the sum of the singular values of A·Bᵀ."""
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    ca, cb = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    return mean + (ca**2).sum() + (cb**2).sum() - 2 * np.linalg.svd(ca @ cb.T, compute_uv=False).sum()


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    blur = lambda x: gaussian_filter(x, sigma=(1.5, 1.5, 0), truncate=3.5)[5:-5, 5:-5]
    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def clip_scores(folder: str, tensors: dict) -> None:
    tokenizer = AutoTokenizer.from_pretrained(f"{folder}/clip/tokenizer")
    inner = dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=3, hidden_act="quick_gelu")
    model = CLIPModel(CLIPConfig(
        text_config=dict(**inner, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, bos_token_id=0, pad_token_id=1),
        vision_config=dict(**inner, image_size=SIDE, patch_size=8),
        projection_dim=24,
    )).eval()
    randomize(model)
    prepare = transforms.Compose([
        transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(SIDE),
    ])
    normalize = transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    pictures = [prepare(Image.fromarray(picture(f"clip.{i}", size))) for i, size in enumerate(CLIP_PICTURES)]
    for i, image in enumerate(pictures):
        tensors[f"bicubic.{i}"] = torch.from_numpy(np.array(image))
    batch = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        out = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            pixel_values=torch.stack([normalize(transforms.ToTensor()(image)) for image in pictures]),
        )
    tensors["clip.scores"] = 100 * out.image_embeds @ out.text_embeds.T
    print("CLIP", tensors["clip.scores"])
    model.half().save_pretrained(f"{folder}/clip/whole")


def main(folder: str) -> None:
    tensors, rules = {}, {}
    model = random_inception(rules)
    for name, sizes in [("a", SET_A), ("b", SET_B)]:
        tensors[f"inception.{name}"] = features(model, name, sizes).contiguous()
    a, b = [tensors[f"inception.{name}"].numpy().astype(np.float64) for name in "ab"]
    tensors["fid"] = torch.tensor([fid(a, b)], dtype=torch.float64)
    theirs = fid_score.calculate_frechet_distance(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    print("features", a.mean(), a.std(0).mean(), "FID", tensors["fid"].item(), "by pytorch-fid, whose root is singular here", theirs)
    clip_scores(folder, tensors)
    first, second = picture("ssim.0", (33, 40)), picture("ssim.1", (33, 40))
    mixed = (first * 0.7 + second * 0.3).astype(np.uint8)
    tensors["ssim"] = torch.tensor([ssim(first, second), ssim(first, mixed)], dtype=torch.float64)
    print("SSIM", tensors["ssim"])
    sizes = {"a": SET_A, "b": SET_B, "clip": CLIP_PICTURES}
    metadata = {"rules": json.dumps(rules), "sizes": json.dumps(sizes), "prompts": json.dumps(PROMPTS)}
    save_file(tensors, f"{folder}/metrics.safetensors", metadata=metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
