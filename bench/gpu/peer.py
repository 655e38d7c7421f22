"""Times PyTorch's counterparts of the cases that `star_gpu_bench --json` timed.

peer.py FILE reads the results.json of bench/gpu/run, where the program's lines are (shapes are written there only), builds each
case from its fields, and prints a line of JSON each: {"case": ..., "torch_ms": ...}, null without a counterpart or room for it.
"""

import json
import statistics
import sys

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def values(*shape, dtype=torch.float32, grad=False):
    return torch.empty(shape, device="cuda", dtype=dtype).uniform_(-1, 1).requires_grad_(grad)


def backward(output, inputs):
    """The gradients alone: the graph of one forward is kept and run backward again and again."""
    dy = torch.randn_like(output)
    return lambda: torch.autograd.grad(output, inputs, dy, retain_graph=True)


def attention_parts(f, dtype, grad):
    # (batch, tokens, heads, head_dim) seen as SDPA's (batch, heads, tokens, head_dim)
    q = values(f["batch"], f["lq"], f["heads"], f["head_dim"], dtype=dtype, grad=grad)
    k = values(f["batch"], f["capacity"], f["heads"], f["head_dim"], dtype=dtype, grad=grad)
    v = values(f["batch"], f["capacity"], f["heads"], f["head_dim"], dtype=dtype, grad=grad)
    mask = None
    if f["sides"]:
        scale = torch.repeat_interleave(
            torch.arange(len(f["sides"]), device="cuda"), torch.tensor([s * s for s in f["sides"]], device="cuda")
        )
        mask = scale[None, :] <= scale[:, None]  # (lq, lk)
    elif f["masked"]:
        mask = (torch.arange(f["lk"], device="cuda") < (f["lk"] + 1) // 2).expand(f["batch"], 1, 1, f["lk"])
    run = lambda: F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k[:, : f["lk"]].transpose(1, 2),
        v[:, : f["lk"]].transpose(1, 2),
        attn_mask=mask,
        scale=0.125,
    )
    return run, [q, k, v]


def attention(f, dtype):
    return attention_parts(f, dtype, False)[0]


def attention_backward(f, dtype):
    run, inputs = attention_parts(f, dtype, True)
    return backward(run(), inputs)


def layer_norm_parts(f, dtype, grad):
    samples = f["rows"] // f["mod_rows"]
    x = values(samples, f["mod_rows"], f["cols"], dtype=dtype, grad=grad)
    scale = values(f["mod_rows"], f["cols"], dtype=dtype, grad=grad)
    shift = values(f["mod_rows"], f["cols"], dtype=dtype, grad=grad)
    return lambda: F.layer_norm(x, (f["cols"],), eps=1e-6) * (1 + scale) + shift, [x, scale, shift]


def layer_norm(f, dtype):
    return layer_norm_parts(f, dtype, False)[0]


def layer_norm_backward(f, dtype):
    run, inputs = layer_norm_parts(f, dtype, True)
    return backward(run(), inputs)


def group_norm_parts(f, dtype, grad):
    # NCHW as a view of NHWC: channels last in memory
    x = values(f["n"], f["hw"], f["c"], dtype=dtype).transpose(1, 2).unsqueeze(3).requires_grad_(grad)
    weight, bias = values(f["c"], dtype=dtype, grad=grad), values(f["c"], dtype=dtype, grad=grad)
    return lambda: F.silu(F.group_norm(x, f["groups"], weight, bias, 1e-6)), [x, weight, bias]


def group_norm(f, dtype):
    return group_norm_parts(f, dtype, False)[0]


def group_norm_backward(f, dtype):
    run, inputs = group_norm_parts(f, dtype, True)
    return backward(run(), inputs)


def embedding(f, dtype):
    table = values(f["rows"], f["cols"], dtype=dtype)
    ids = torch.randint(f["rows"], (f["count"],), device="cuda")
    return lambda: F.embedding(ids, table)


def embedding_backward(f, dtype):
    table = values(f["rows"], f["cols"], dtype=dtype, grad=True)
    ids = torch.randint(f["rows"], (f["count"],), device="cuda")
    return backward(F.embedding(ids, table), [table])


def row_distances(f, dtype):
    x, center = values(f["batch"], f["length"], f["cols"], dtype=dtype), values(f["batch"], 1, f["cols"], dtype=dtype)
    return lambda: (x.float() - center.float()).square().sum(-1)


def top_positions(f, dtype):
    score = values(f["rows"], f["length"])
    return lambda: score.topk(f["keep"], sorted=False).indices


def rows_by_position(f, dtype):
    x, part = (values(f["rows"], f[n], f["cols"], dtype=dtype) for n in ("length", "keep"))
    ids = torch.stack([torch.randperm(f["length"], device="cuda")[: f["keep"]] for _ in range(f["rows"])])
    return x, part, ids[..., None].expand(-1, -1, f["cols"])


def gather_rows(f, dtype):
    x, _, ids = rows_by_position(f, dtype)
    return lambda: x.gather(1, ids)


def scatter_rows(f, dtype):
    x, part, ids = rows_by_position(f, dtype)
    return lambda: x.scatter_(1, ids, part)


def nearest_row(f, dtype):
    x, codebook = values(f["rows"], f["cols"], dtype=dtype), values(f["vocab"], f["cols"], dtype=dtype)
    return lambda: torch.addmm(
        x.square().sum(1, keepdim=True) + codebook.square().sum(1), x, codebook.T, alpha=-2
    ).argmin(1)


def filtered(logits, f):
    """Top-k, then top-p, as the sampling code of this model family writes it."""
    kth = logits.topk(f["top_k"], dim=1).values[:, -1:] if 0 < f["top_k"] < f["vocab"] else logits.min(1, keepdim=True).values
    kept = logits.masked_fill(logits < kth, -torch.inf)
    ordered, order = kept.sort(dim=1)
    removed = ordered.softmax(1).cumsum(1) <= 1 - f["top_p"]
    removed[:, -1] = False
    return kept.masked_fill(removed.scatter(1, order, removed), -torch.inf)


def draw(f, dtype):
    logits = values(f["rows"], f["vocab"], dtype=dtype) * 8
    return lambda: torch.multinomial(filtered(logits, f).float().softmax(1), 1)


def gumbel_mix(f, dtype):
    logits, codebook = values(f["rows"], f["vocab"], dtype=dtype) * 8, values(f["vocab"], f["cols"], dtype=dtype)
    noise = -torch.empty(f["rows"], f["vocab"], device="cuda").exponential_().log()
    return lambda: ((filtered(logits, f) * 1.5 + noise) / 0.2).softmax(1).to(dtype) @ codebook


def cross_entropy(f, dtype):
    logits = values(f["rows"], f["vocab"], dtype=dtype)
    targets = torch.randint(f["vocab"], (f["rows"],), device="cuda")
    return lambda: F.cross_entropy(logits, targets, reduction="none")


def cross_entropy_backward(f, dtype):
    logits = values(f["rows"], f["vocab"], dtype=dtype, grad=True)
    targets = torch.randint(f["vocab"], (f["rows"],), device="cuda")
    return backward(F.cross_entropy(logits, targets, reduction="none"), [logits])


def resample(**how):
    def build(f, dtype):
        x = values(f["n"], f["c"], f["h"], f["w"], dtype=dtype).to(memory_format=torch.channels_last)
        return lambda: F.interpolate(x, (f["oh"], f["ow"]), **how)

    return build


def resample_backward(**how):
    def build(f, dtype):
        x = values(f["n"], f["c"], f["h"], f["w"], dtype=dtype).to(memory_format=torch.channels_last).requires_grad_(True)
        return backward(F.interpolate(x, (f["oh"], f["ow"]), **how), [x])

    return build


def conv_parts(f, dtype, grad):
    last = torch.channels_last
    x = values(f["n"], f["c_in"], f["h"], f["w"], dtype=dtype).to(memory_format=last).requires_grad_(grad)
    weight = values(f["c_out"], f["c_in"], f["k"], f["k"], dtype=dtype).to(memory_format=last).requires_grad_(grad)
    return x, weight


def conv2d(f, dtype):
    x, weight = conv_parts(f, dtype, False)
    bias = values(f["c_out"], dtype=dtype)
    return lambda: F.conv2d(x, weight, bias, padding=f["k"] // 2)


def conv2d_gradient(which):
    def build(f, dtype):
        parts = conv_parts(f, dtype, True)
        return backward(F.conv2d(*parts, padding=f["k"] // 2), [parts[which]])

    return build


def matmul_bias(f, dtype):
    a, weight, bias = values(f["m"], f["k"], dtype=dtype), values(f["n"], f["k"], dtype=dtype), values(f["n"], dtype=dtype)
    return lambda: F.linear(a, weight, bias)


def matmul_gelu(f, dtype):
    run = matmul_bias(f, dtype)
    return lambda: F.gelu(run(), approximate="tanh")


def matmul_data(f, dtype):
    a, b = values(f["m"], f["k"], dtype=dtype), values(f["k"], f["n"], dtype=dtype)
    return lambda: torch.matmul(a, b)


def linear_data_gelu(f, dtype):
    dy, w = values(f["rows"], f["c"], dtype=dtype), values(f["c"], f["hidden"], dtype=dtype)
    before = values(f["rows"], f["hidden"], dtype=dtype)
    return lambda: torch.ops.aten.gelu_backward(torch.matmul(dy, w), before, approximate="tanh")


def linear_weight_bias(f, dtype):
    dy, x = values(f["rows"], f["hidden"], dtype=dtype), values(f["rows"], f["c"], dtype=dtype)
    return lambda: (torch.matmul(dy.T, x), dy.sum(0))


def cast(f, dtype):
    x = values(f["count"], dtype=torch.float32 if dtype is torch.bfloat16 else torch.bfloat16)
    return lambda: x.to(dtype)


def random_normal(f, dtype):
    y = values(f["count"], dtype=dtype)
    return lambda: y.normal_()


def permute(f, dtype):
    x = values(f["n"], f["hw"], f["c"], dtype=dtype)
    return lambda: x.transpose(1, 2).contiguous()


def affine(f, dtype):
    a, b = values(f["rows"], f["cols"], dtype=dtype), values(f["rows"], f["cols"], dtype=dtype)
    return lambda: a + b


def binary_bias(f, dtype):
    a, b = values(f["rows"], f["cols"], dtype=dtype), values(f["cols"], dtype=dtype)
    return lambda: a + b


def unary_silu(f, dtype):
    x = values(f["rows"], f["cols"], dtype=dtype)
    return lambda: F.silu(x)


def unary_silu_backward(f, dtype):
    x = values(f["rows"], f["cols"], dtype=dtype, grad=True)
    return backward(F.silu(x), [x])


def reduce_rows(f, dtype):
    x = values(f["rows"], f["cols"], dtype=dtype)
    return lambda: x.sum(0)


def softmax(f, dtype):
    x = values(f["rows"], f["cols"], dtype=dtype)
    return lambda: x.softmax(1)


def softmax_backward(f, dtype):
    x = values(f["rows"], f["cols"], dtype=dtype, grad=True)
    return backward(x.softmax(1), [x])


def copy_block(f, dtype):
    cache = values(f["outer"], f["size"], f["inner"], dtype=dtype)
    x = values(f["outer"], f["count"], f["inner"], dtype=dtype)
    return lambda: cache[:, f["size"] - f["count"] :].copy_(x)


def fill(f, dtype):
    y = values(f["outer"], f["size"], f["inner"], dtype=dtype)
    return lambda: y.zero_()


def finite(f, dtype):
    tensors = [values(n) for n in f["counts"]]
    found, one = torch.zeros(1, device="cuda"), torch.ones(1, device="cuda")
    return lambda: torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)


def global_norm(f, dtype):
    tensors = [values(n) for n in f["counts"]]
    return lambda: torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def adamw(f, dtype):
    parameters = [values(n, grad=True) for n in f["counts"]]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    return optimizer.step


BUILD = {
    "attention": attention,
    "attention_backward": attention_backward,
    "layer_norm": layer_norm,
    "layer_norm_backward": layer_norm_backward,
    "group_norm": group_norm,
    "group_norm_backward": group_norm_backward,
    "embedding": embedding,
    "embedding_backward": embedding_backward,
    "row_distances": row_distances,
    "top_positions": top_positions,
    "gather_rows": gather_rows,
    "scatter_rows": scatter_rows,
    "nearest_row": nearest_row,
    "draw": draw,
    "gumbel_mix": gumbel_mix,
    "cross_entropy": cross_entropy,
    "cross_entropy_backward": cross_entropy_backward,
    "resample_area": resample(mode="area"),
    "resample_area_backward": resample_backward(mode="area"),
    "resample_bicubic": resample(mode="bicubic", align_corners=False),
    "resample_bicubic_backward": resample_backward(mode="bicubic", align_corners=False),
    "resample_nearest": resample(mode="nearest"),
    "resample_nearest_backward": resample_backward(mode="nearest"),
    "conv2d": conv2d,
    "conv2d_data": conv2d_gradient(0),
    "conv2d_weight": conv2d_gradient(1),
    "matmul_bias": matmul_bias,
    "matmul_gelu": matmul_gelu,
    "matmul_data": matmul_data,
    "linear_data_gelu": linear_data_gelu,
    "linear_weight_bias": linear_weight_bias,
    "cast": cast,
    "random_normal": random_normal,
    "permute": permute,
    "affine": affine,
    "binary_bias": binary_bias,
    "unary_silu": unary_silu,
    "unary_silu_backward": unary_silu_backward,
    "reduce_rows": reduce_rows,
    "softmax": softmax,
    "softmax_backward": softmax_backward,
    "copy_block": copy_block,
    "fill": fill,
    "finite": finite,
    "global_norm": global_norm,
    "adamw": adamw,
}
NONE = {"heads", "heads_backward", "unmask"}  # PyTorch has no op that normalizes, scales and rotates, or fixes positions


def milliseconds(work):
    """The median, as Timer of bench/gpu/bench.cc measures it."""
    flush = torch.empty(2 * torch.cuda.get_device_properties(0).L2_cache_size, device="cuda", dtype=torch.uint8)
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    times = []
    while len(times) < 7 or (len(times) < 51 and sum(times) <= 300):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        flush.zero_()
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: peer.py FILE, the results.json of bench/gpu/run")
    with open(sys.argv[1], encoding="utf-8") as file:
        kernels = json.load(file)["parts"].get("kernels", {}).get("result")
    if not kernels:
        sys.exit("the kernels must be timed first: their shapes are what PyTorch is timed with")
    torch.backends.cudnn.benchmark = True
    for case in kernels["cases"]:
        ms = None
        if case["op"] not in NONE:
            try:
                ms = milliseconds(BUILD[case["op"]](case["fields"], DTYPES[case["dtype"]]))
            except torch.cuda.OutOfMemoryError:
                pass
            torch.cuda.empty_cache()
        print(json.dumps({"case": case["case"], "torch_ms": ms}), flush=True)


if __name__ == "__main__":
    main()
