"""GLIDE's U-Nets and text transformer in PyTorch, written from the papers and the published parameter names.

Parameter names and shapes follow the released checkpoints, so a state dict moves freely between this file, the
released code and this project (`glide import`). Activations are NCHW. make_fixtures.py cross-checks the C code with it, forward
and backward. Runs on PyTorch 1.13 and later.
"""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F


def timestep_embedding(t, dim, max_period=10000.0):
    """t (N,) -> (N, dim): cosines, then sines."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    a = t.float()[:, None] * freqs[None]
    return torch.cat([a.cos(), a.sin()], 1)


def attend(q, k, v):
    """(..., T, D), (..., S, D), (..., S, D) -> (..., T, D); PyTorch 1.13 has no function for it."""
    if hasattr(F, "scaled_dot_product_attention"): return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), -1) @ v


class Residual(nn.Module):
    """FiLM residual block; up/down resample between activation and first convolution."""
    def __init__(self, cin, emb, cout, dropout=0.0, resample=None):
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(nn.GroupNorm(32, cin), nn.SiLU(), nn.Conv2d(cin, cout, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * cout))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, cout), nn.SiLU(), nn.Dropout(dropout),
                                        nn.Conv2d(cout, cout, 3, padding=1))
        nn.init.zeros_(self.out_layers[3].weight); nn.init.zeros_(self.out_layers[3].bias)
        self.skip_connection = nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1)

    def _resample(self, x):
        if self.resample == "down": return F.avg_pool2d(x, 2)
        if self.resample == "up": return F.interpolate(x, scale_factor=2, mode="nearest")
        return x

    def forward(self, x, emb, text=None):
        h = self._resample(self.in_layers[1](self.in_layers[0](x)))
        x = self._resample(x)
        h = self.in_layers[2](h)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, 1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        for layer in self.out_layers[1:]: h = layer(h)
        return self.skip_connection(x) + h


class Attention(nn.Module):
    """Self-attention over pixels with the text's keys and values in front; qkv laid out per head."""
    def __init__(self, channels, head_channels, text_width):
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.encoder_kv = nn.Conv1d(text_width, 2 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.proj_out.weight); nn.init.zeros_(self.proj_out.bias)

    def forward(self, x, emb, text):
        n, c, *hw = x.shape
        d = c // self.heads
        q, k, v = self.qkv(self.norm(x).reshape(n, c, -1)).reshape(n * self.heads, 3 * d, -1).split(d, 1)
        ek, ev = self.encoder_kv(text).reshape(n * self.heads, 2 * d, -1).split(d, 1)
        k, v = torch.cat([ek, k], 2), torch.cat([ev, v], 2)
        q, k, v = (z.reshape(n, self.heads, d, -1).transpose(2, 3) for z in (q, k, v))
        h = attend(q, k, v).transpose(2, 3).reshape(n, c, -1)
        return x + self.proj_out(h).reshape(n, c, *hw)


class Block(nn.ModuleList):
    """Layers applied in order; plain convolutions take only x."""
    def forward(self, x, emb, text):
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, emb, text)
        return x


class TextBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.attn = nn.ModuleDict(dict(c_qkv=nn.Linear(width, 3 * width), c_proj=nn.Linear(width, width)))
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(dict(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width)))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):
        n, t, w = x.shape
        q, k, v = self.attn["c_qkv"](self.ln_1(x)).reshape(n, t, self.heads, -1).transpose(1, 2).chunk(3, -1)
        x = x + self.attn["c_proj"](attend(q, k, v).transpose(1, 2).reshape(n, t, w))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Glide(nn.Module):
    """cfg keys: image_size, in_channels (3 base, 6 upsampler, 7 and 10 with inpainting), channels, mult, blocks, attention (list of sizes),
    head_channels, n_vocab, text_ctx, text_width, text_layers, text_heads, dropout."""
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        c, mult = cfg["channels"], cfg["mult"]
        emb, w = 4 * c, cfg["text_width"]
        self.time_embed = nn.Sequential(nn.Linear(c, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.transformer = nn.ModuleDict(dict(resblocks=nn.ModuleList(
            TextBlock(w, cfg["text_heads"]) for _ in range(cfg["text_layers"]))))
        self.final_ln = nn.LayerNorm(w)
        self.token_embedding = nn.Embedding(cfg["n_vocab"], w)
        self.positional_embedding = nn.Parameter(torch.randn(cfg["text_ctx"], w) * 0.01)
        self.padding_embedding = nn.Parameter(torch.randn(cfg["text_ctx"], w) * 0.01)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.transformer_proj = nn.Linear(w, emb)
        size = cfg["image_size"]

        def stage(cin, cout, resample=None, size=size):
            layers = [Residual(cin, emb, cout, cfg["dropout"], resample)]
            if size in cfg["attention"] and resample is None:
                layers.append(Attention(cout, cfg["head_channels"], w))
            return layers

        ch = int(mult[0] * c)
        self.input_blocks = nn.ModuleList([Block([nn.Conv2d(cfg["in_channels"], ch, 3, padding=1)])])
        skips = [ch]
        for level, m in enumerate(mult):
            for _ in range(cfg["blocks"]):
                self.input_blocks.append(Block(stage(ch, int(m * c), size=size))); ch = int(m * c); skips.append(ch)
            if level < len(mult) - 1:
                self.input_blocks.append(Block([Residual(ch, emb, ch, cfg["dropout"], "down")])); skips.append(ch)
                size //= 2
        self.middle_block = Block([Residual(ch, emb, ch, cfg["dropout"]), Attention(ch, cfg["head_channels"], w),
                                   Residual(ch, emb, ch, cfg["dropout"])])
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(mult))):
            for i in range(cfg["blocks"] + 1):
                layers = stage(ch + skips.pop(), int(mult[level] * c), size=size); ch = int(mult[level] * c)
                if level and i == cfg["blocks"]:
                    layers.append(Residual(ch, emb, ch, cfg["dropout"], "up")); size *= 2
                self.output_blocks.append(Block(layers))
        self.out = nn.Sequential(nn.GroupNorm(32, ch), nn.SiLU(), nn.Conv2d(ch, 6, 3, padding=1))
        nn.init.zeros_(self.out[2].weight); nn.init.zeros_(self.out[2].bias)

    def encode_text(self, tokens, mask):
        """tokens (N,T) int, mask (N,T) bool -> pooled (N, 4C), sequence (N, W, T)."""
        x = self.token_embedding(tokens) + self.positional_embedding
        x = torch.where(mask[..., None], x, self.padding_embedding.to(x.dtype))
        for block in self.transformer["resblocks"]: x = block(x)
        x = self.final_ln(x)
        return self.transformer_proj(x[:, -1]), x.transpose(1, 2)

    def forward(self, x, t, tokens, mask, low_res=None, known=None, known_mask=None):
        """x (N,3,H,W), t (N,) in training steps -> (N,6,H,W): eps, then the variance's interpolation.
        known (N,3,H,W), known_mask (N,1,H,W): for inpainting; None: nothing is known."""
        if self.cfg["in_channels"] in (7, 10):
            if known is None: known, known_mask = torch.zeros_like(x), torch.zeros_like(x[:, :1])
            x = torch.cat([x, known * known_mask, known_mask], 1)
        if low_res is not None:
            x = torch.cat([x, F.interpolate(low_res, x.shape[2:], mode="bilinear", align_corners=False)], 1)
        pooled, text = self.encode_text(tokens, mask)
        emb = self.time_embed(timestep_embedding(t, self.cfg["channels"]).to(self.padding_embedding.dtype)) + pooled
        h, hs = x, []
        for block in self.input_blocks: h = block(h, emb, text); hs.append(h)
        h = self.middle_block(h, emb, text)
        for block in self.output_blocks: h = block(torch.cat([h, hs.pop()], 1), emb, text)
        return self.out(h if torch.is_autocast_enabled() else h.to(self.out[0].weight.dtype))
