"""Opens a checkpoint in the reference implementation's layout as PyTorch programs do: reference-peer.py CHECKPOINT INPUT OUTPUT.

The module tree is built from the names and shapes of its state dict, so that load_state_dict(strict=True) and the numbering of
AdamW's parameters are PyTorch's own. INPUT and OUTPUT are safetensors files: what the transformer is given, and its logits with
AdamW's moments by the names of the parameters.
"""

import os
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(__file__), *([".."] * 2), "bench", "twin"))
from star import Star

SPARED = "cls_token start_token task_token cfg_uncond pos_embed pos_1LC pos_start start_pos lvl_embed gamma beta ada_gss"
SPARED = SPARED.split() + ["moe_bias", "scale_mul"]
# A parameter of the reference's module that its forward pass does not read.
UNUSED = "class_emb.weight"


def tree(state):
    root = nn.Module()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        if leaf == "zero_k_bias":
            module.register_buffer(leaf, torch.empty_like(tensor))
        else:
            module.register_parameter(leaf, nn.Parameter(torch.empty_like(tensor)))
    return root


def groups(module):
    found = {}
    for name, parameter in module.named_parameters():
        spared = parameter.ndim == 1 or name.endswith("bias") or any(part in name for part in SPARED)
        group = found.setdefault(spared, {"params": [], "wd_sc": 0.0 if spared else 1.0, "lr_sc": 1.0})
        group["params"].append(parameter)
    return list(found.values())


def main(checkpoint, given, output):
    file = torch.load(checkpoint, map_location="cpu", weights_only=True)
    trainer = file["trainer"]
    assert isinstance(trainer["config"]["patch_nums"], tuple), "patch_nums is no tuple"
    state = trainer["var_wo_ddp"]
    module = tree(state)
    module.load_state_dict(state, strict=True)
    results = {}
    if "var_opt" in trainer:
        optimizer = torch.optim.AdamW(groups(module), lr=1e-3, betas=(0.9, 0.95), weight_decay=0)
        optimizer.load_state_dict(trainer["var_opt"]["optimizer"])
        stepped = [(name, parameter) for name, parameter in module.named_parameters() if name != UNUSED]
        assert len(optimizer.state) == len(stepped), "state of a parameter that is never stepped"
        for name, parameter in stepped:
            for moment in ("exp_avg", "exp_avg_sq"):
                results[f"{name}.{moment}"] = optimizer.state[parameter][moment].clone()
        results["step"] = optimizer.state[stepped[0][1]]["step"].clone().reshape(1)
        # It steps on, as a resumed training does.
        for _, parameter in stepped:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    inputs = load_file(given)
    vocab, width = state["head_logits.weight"].shape
    depth = sum(name.endswith("attn.mat_qkv.weight") for name in state)
    star = Star(
        list(trainer["config"]["patch_nums"]),
        depth,
        width,
        vocab,
        state["word_embed.weight"].shape[1],
        state["encoder_proj.weight"].shape[1],
    )
    star.load_state_dict({name: tensor for name, tensor in state.items() if name != UNUSED}, strict=True)
    with torch.inference_mode():
        results["logits"] = star(inputs["input"], inputs["text"], inputs["pooled"], inputs["mask"].bool())
    save_file({name: tensor.clone() for name, tensor in results.items()}, output)


main(*sys.argv[1:])
