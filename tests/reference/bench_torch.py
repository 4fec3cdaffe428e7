"""Seconds of PyTorch on the CPU for what `glide bench` times, to compare in turn in one run:

    python3 tests/reference/bench_torch.py train [f32|bf16] [RUNS]    # glide bench train --config medium --batch 16
    python3 tests/reference/bench_torch.py pair  [f32|bf16] [RUNS]    # glide bench step --config glide-base
    python3 tests/reference/bench_torch.py pixels [f32|bf16] [RUNS]   # glide bench step --config glide-upsampler

bf16 is torch.autocast's; two threads; activations in both orders of the axes, of which channels last is usually the faster one. The
median of so many runs (5) after one that is not counted.
"""
import sys
import time
import torch
import torch.nn as nn
import torch.nn.functional as F


class FloatGroupNorm(nn.GroupNorm):
    """In f32, as GLIDE's own: PyTorch 1.13 has none for bf16 pictures and f32 weights."""
    def forward(self, x):
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps).to(x.dtype)


nn.GroupNorm = FloatGroupNorm
from glide_torch import Glide  # noqa: E402

GLIDE = dict(image_size=64, in_channels=3, channels=192, mult=(1, 2, 3, 4), blocks=3, attention=(32, 16, 8), head_channels=64,
             n_vocab=50257, text_ctx=128, text_width=512, text_layers=16, text_heads=8, dropout=0.0)
UPSAMPLER = dict(GLIDE, image_size=256, in_channels=6, mult=(1, 1, 2, 2, 4, 4), blocks=2, attention=(32, 16, 8))
MEDIUM = dict(image_size=64, in_channels=3, channels=64, mult=(1, 2, 3, 4), blocks=2, attention=(16, 8), head_channels=32,
              n_vocab=2048, text_ctx=32, text_width=256, text_layers=4, text_heads=4, dropout=0.0)


def inputs(cfg, n, order):
    side, ctx = cfg["image_size"], cfg["text_ctx"]
    x = torch.randn(n, 3, side, side).to(memory_format=order)
    low_res = torch.randn(n, 3, side // 4, side // 4) if cfg["in_channels"] == 6 else None
    return x, torch.full((n,), 500), torch.randint(0, cfg["n_vocab"], (n, ctx)), torch.ones(n, ctx, dtype=torch.bool), low_res


def sampling(cfg, n, order, cast):
    model = Glide(cfg).to(memory_format=order).eval()
    args = inputs(cfg, n, order)

    def step():
        with torch.no_grad(), cast: model(*args)
    return step


def training(cfg, n, order, cast):
    model = Glide(cfg).to(memory_format=order).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    args, eps = inputs(cfg, n, order), torch.randn(n, 3, cfg["image_size"], cfg["image_size"])

    def step():
        optimiser.zero_grad(set_to_none=True)
        with cast: y = model(*args)
        ((y.float()[:, :3] - eps) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return step


def main():
    torch.set_num_threads(2)
    what, dtype, runs = (sys.argv[1:] + ["", "", ""])[:3]
    make, cfg, n = {"train": (training, MEDIUM, 16), "pair": (sampling, GLIDE, 2), "pixels": (sampling, UPSAMPLER, 1)}[what]
    for name, order in ("channels last", torch.channels_last), ("channels first", torch.contiguous_format):
        torch.manual_seed(0)
        step = make(cfg, n, order, torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"))
        seconds = []
        for _ in range(int(runs or 5) + 1):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        seconds = sorted(seconds[1:])
        print(f"PyTorch {torch.__version__}, {dtype or 'f32'}, {what}, {name}: {seconds[len(seconds) // 2]:.3f} s (median of "
              f"{len(seconds)}, fastest {seconds[0]:.3f})", flush=True)


main()
