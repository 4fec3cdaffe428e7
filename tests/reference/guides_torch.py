"""Guided-diffusion's classifier and GLIDE's noise-aware CLIP in PyTorch, written from the papers and the published parameter
names, which state dicts keep. Activations are NCHW. make_guides.py computes fixtures with them. Runs on PyTorch 1.13 and later.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from glide_torch import attend, timestep_embedding


# --- the classifier (arXiv 2105.05233) -------------------------------------------------------------------------------

class Residual(nn.Module):
    """film: the embedding scales and shifts the second norm's result; else it is added before that norm."""
    def __init__(self, cin, emb, cout, film, down=False):
        super().__init__()
        self.film, self.down = film, down
        self.in_layers = nn.Sequential(nn.GroupNorm(32, cin), nn.SiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * cout if film else cout))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, cout), nn.SiLU(), nn.Dropout(0), nn.Conv2d(cout, cout, 3, padding=1))
        self.skip_connection = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def forward(self, x, emb):
        h = F.silu(self.in_layers[0](x))
        if self.down: h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h, e = self.in_layers[2](h), self.emb_layers(emb)[:, :, None, None]
        if self.film:
            scale, shift = e.chunk(2, 1)
            h = F.silu(self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = F.silu(self.out_layers[0](h + e))
        return self.skip_connection(x) + self.out_layers[3](h)


def heads_of(qkv, heads, parts_first):
    """(N, 3C, T) -> q, k, v, each (N, heads, T, D): all q, all k, all v, or q, k, v of each head."""
    n, c, t = qkv.shape
    if parts_first: z = qkv.reshape(n, 3, heads, c // 3 // heads, t).permute(1, 0, 2, 4, 3)
    else: z = qkv.reshape(n, heads, 3, c // 3 // heads, t).permute(2, 0, 1, 4, 3)
    return z[0], z[1], z[2]


def attend_pixels(qkv, heads, parts_first):
    h = attend(*heads_of(qkv, heads, parts_first))  # (N, heads, T, D)
    return h.transpose(2, 3).reshape(qkv.shape[0], -1, qkv.shape[2])


class Attention(nn.Module):
    def __init__(self, channels, heads, parts_first):
        super().__init__()
        self.heads, self.parts_first = heads, parts_first
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        pixels = self.qkv(self.norm(x).flatten(2))
        return x + self.proj_out(attend_pixels(pixels, self.heads, self.parts_first)).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x, emb): return self.op(x)


class Stem(nn.Conv2d):
    def forward(self, x, emb): return super().forward(x)


class Layers(nn.ModuleList):
    def forward(self, x, emb):
        for layer in self: x = layer(x, emb)
        return x


class AttentionPool(nn.Module):
    """The answer of the mean, put in front of the pixels; always all q, all k, all v."""
    def __init__(self, side, channels, heads, classes):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(channels, side * side + 1))
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, classes, 1)

    def forward(self, x):
        x = x.flatten(2)
        x = torch.cat([x.mean(2, keepdim=True), x], 2) + self.positional_embedding
        return self.c_proj(attend_pixels(self.qkv_proj(x), self.heads, True))[:, :, 0]


class Classifier(nn.Module):
    """cfg keys: image_size, channels, mult, blocks, attention_ds, head_channels (or -1), heads, film, updown, parts_first, pool,
    pool_width, classes."""
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        c, emb, film = cfg["channels"], 4 * cfg["channels"], cfg["film"]
        self.time_embed = nn.Sequential(nn.Linear(c, emb), nn.SiLU(), nn.Linear(emb, emb))
        heads = lambda ch: ch // cfg["head_channels"] if cfg["head_channels"] > 0 else cfg["heads"]
        ch, ds = int(cfg["mult"][0] * c), 1
        self.input_blocks, features = nn.ModuleList([Layers([Stem(3, ch, 3, padding=1)])]), ch
        for level, m in enumerate(cfg["mult"]):
            for _ in range(cfg["blocks"]):
                layers, ch = [Residual(ch, emb, int(m * c), film)], int(m * c)
                if ds in cfg["attention_ds"]: layers.append(Attention(ch, heads(ch), cfg["parts_first"]))
                self.input_blocks.append(Layers(layers)); features += ch
            if level < len(cfg["mult"]) - 1:
                self.input_blocks.append(Layers([Residual(ch, emb, ch, film, True) if cfg["updown"] else Downsample(ch)]))
                features += ch; ds *= 2
        self.middle_block = Layers([Residual(ch, emb, ch, film), Attention(ch, heads(ch), cfg["parts_first"]), Residual(ch, emb, ch, film)])
        features += ch
        classes, width = cfg["classes"], cfg["pool_width"]
        self.out = nn.Sequential(*{
            "attention": lambda: [nn.GroupNorm(32, ch), nn.SiLU(), AttentionPool(cfg["image_size"] // ds, ch, heads(ch), classes)],
            "adaptive": lambda: [nn.GroupNorm(32, ch), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(ch, classes, 1), nn.Flatten()],
            "spatial": lambda: [nn.Linear(features, width), nn.ReLU(), nn.Linear(width, classes)],
            "spatial_v2": lambda: [nn.Linear(features, width), nn.GroupNorm(32, width), nn.SiLU(), nn.Linear(width, classes)],
        }[cfg["pool"]]())

    def forward(self, x, t):
        """x (N,3,H,W), t (N,) -> logits (N, classes)."""
        emb, h, means = self.time_embed(timestep_embedding(t, self.cfg["channels"]).to(x.dtype)), x, []
        for block in [*self.input_blocks, self.middle_block]:
            h = block(h, emb); means.append(h.mean((2, 3)))
        return self.out(torch.cat(means, 1) if self.cfg["pool"].startswith("spatial") else h)


# --- CLIP (arXiv 2103.00020), as GLIDE's noised one -------------------------------------------------------------------

class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.g, self.b = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x): return F.layer_norm(x, self.g.shape, self.g, self.b)


class Affine(nn.Module):
    def __init__(self, cin, cout, bias=True):
        super().__init__()
        self.w = nn.Parameter(torch.randn(cout, cin))
        if bias: self.b = nn.Parameter(torch.zeros(cout))

    def forward(self, x): return F.linear(x, self.w, getattr(self, "b", None))


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.ln = heads, Norm(width)
        self.f_q, self.f_k, self.f_v = Affine(width, width), Affine(width, width, False), Affine(width, width)
        self.f_c = Affine(width, width)

    def forward(self, x, hidden):
        """hidden (T,T): True where a position may not look."""
        n, t, w = x.shape
        r = self.ln(x)
        q, k, v = (f(r).reshape(n, t, self.heads, -1).transpose(1, 2) for f in (self.f_q, self.f_k, self.f_v))
        scores = (q @ k.transpose(2, 3) / (w // self.heads) ** 0.5).masked_fill(hidden, -torch.inf)
        return x + self.f_c((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, w))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln, self.f_1, self.f_2 = Norm(width), Affine(width, 4 * width), Affine(4 * width, width)

    def forward(self, x): return x + self.f_2(F.gelu(self.f_1(self.ln(x))))


class TransformerBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.f_attn, self.f_mlp = SelfAttention(width, heads), Mlp(width)

    def forward(self, x, hidden): return self.f_mlp(self.f_attn(x, hidden))


class Output(nn.Module):
    def __init__(self, width, n_embd):
        super().__init__()
        self.ln, self.f = Norm(width), Affine(width, n_embd, False)

    def forward(self, x): return self.f(self.ln(x))


class ImageInput(nn.Module):
    MEAN, STD = (122.77093945, 116.74601272, 104.09373519), (68.50053285, 66.63215831, 70.32316309)

    def __init__(self, cfg, width):
        super().__init__()
        self.w_t = nn.Parameter(torch.randn(cfg["n_timesteps"], width))
        self.patch_proj = nn.Parameter(torch.randn(width, 3, cfg["patch_size"], cfg["patch_size"]))
        self.w_pos = nn.Parameter(torch.randn(1 + (cfg["image_size"] // cfg["patch_size"]) ** 2, width))
        self.ln = Norm(width)

    def forward(self, x, t):
        mean, std = (torch.tensor(z, dtype=x.dtype).reshape(1, 3, 1, 1) for z in (self.MEAN, self.STD))
        patches = F.conv2d(((x + 1) * 127.5 - mean) / std, self.patch_proj, stride=self.patch_proj.shape[2])
        return self.ln(torch.cat([self.w_t[t][:, None], patches.flatten(2).transpose(1, 2)], 1) + self.w_pos)


class TextInput(nn.Module):
    def __init__(self, cfg, width):
        super().__init__()
        self.w_voc = nn.Parameter(torch.randn(cfg["n_vocab"], width))
        self.w_pos = nn.Parameter(torch.randn(cfg["max_text_len"], width))

    def forward(self, tokens): return self.w_voc[tokens] + self.w_pos


class Encoder(nn.Module):
    """kind: "image" or "text". cfg keys are those of clip/config.yaml."""
    def __init__(self, cfg, kind):
        super().__init__()
        heads = cfg[f"n_head_{kind}"]; width = heads * cfg[f"n_head_state_{kind}"]
        self.kind = kind
        blocks = dict(input=(ImageInput if kind == "image" else TextInput)(cfg, width))
        for i in range(cfg[f"n_xf_blocks_{kind}"]): blocks[f"block_{i}"] = TransformerBlock(width, heads)
        self.blocks = nn.ModuleDict(dict(blocks, output=Output(width, cfg["n_embd"])))

    def forward(self, first, second):
        """image: pictures in [-1,1] and whole timesteps; text: tokens and lengths -> (N, n_embd)."""
        image = self.kind == "image"
        x = self.blocks["input"](first, second) if image else self.blocks["input"](first)
        T = x.shape[1]
        hidden = torch.zeros(T, T, dtype=torch.bool) if image else torch.ones(T, T, dtype=torch.bool).triu(1)
        for name, block in self.blocks.items():
            if name.startswith("block_"): x = block(x, hidden)
        return self.blocks["output"](x[:, 0] if image else x[torch.arange(len(x)), second - 1])


def unit(z):
    return z / (torch.linalg.norm(z, dim=-1, keepdim=True) + 1e-12)
