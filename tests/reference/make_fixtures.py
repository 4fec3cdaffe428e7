"""Makes a folder of fixtures like tests/fixtures with other sizes, weights, schedules, languages and texts, computed by
glide_torch.py and by straightforward Python; `make parity FIXTURES=DIR` must pass on it. That is how we know that the comparison
and the engine take everything from the files.

  python3 tests/reference/make_fixtures.py DIR [--seed N]

Needs torch, numpy, h5py and regex. The layout is described in tests/fixtures/README.md. Written from the papers: DDPM
arXiv 2006.11239, Improved DDPM 2102.09672, DDIM 2010.02502, classifier-free guidance 2207.12598.
"""
import argparse, json, math, os, random
import h5py, numpy as np, regex, torch
import torch.nn.functional as F
from fixture_files import describe_checkpoint, save
from glide_torch import Glide, TextBlock, attend, timestep_embedding
from make_guides import make_guides
from make_solvers import Clock, make_solvers, multistep

PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
TEXTS = ["", " ", "노란 모자를 쓴 개구리, 3D 이모지", "Огромный красный дом; ΟΔΥΣΣΕΥΣ", "日本語のテキスト 12½ ²³", "it's  we'll \t they'D",
         "\u0130stanbul \u00a0naïve café", "🦊🦊 fox & 👩‍🚀 astronaut!!", "a" * 40, "the the the then there these", "<|endoftext|>",
         "señor_niño-42; über_größe", "\nnew\r\nlines\n\n", "ไทย ภาษา हिन्दी العربية עברית", "''s don't 'stop", "x\u2028y\u3000z\u200bw"]


# --- tokenizer ---------------------------------------------------------------------------------------------------

class Bpe:
    """Byte-level BPE over byte strings: ids are the 256 bytes in GPT-2's order, the merges, the end token."""
    def __init__(self, merges):
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        order = printable + [b for b in range(256) if b not in printable]
        self.vocab = [bytes([b]) for b in order] + [a + b for a, b in merges]
        self.id = {t: i for i, t in enumerate(self.vocab)}
        self.merges, self.rank = merges, {m: i for i, m in enumerate(merges)}
        self.end = len(self.vocab)

    def merge(self, parts):
        while len(parts) > 1:
            best = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, 1 << 30))
            if best not in self.rank: break
            out, i = [], 0
            while i < len(parts):
                hit = tuple(parts[i:i + 2]) == best
                out.append(best[0] + best[1] if hit else parts[i]); i += 2 if hit else 1
            parts = out
        return parts

    def encode(self, text):
        return [self.id[t] for w in PATTERN.findall(text.lower()) for t in self.merge([bytes([b]) for b in w.encode()])]

    def padded(self, text, ctx):
        ids = self.encode(text)[:ctx]
        return ids + [self.end] * (ctx - len(ids)), [1] * len(ids) + [0] * (ctx - len(ids))


def train_bpe(texts, count):
    words = [[bytes([b]) for b in w.encode()] for t in texts for w in PATTERN.findall(t.lower())]
    merges, made = [], set()
    while len(merges) < count:
        counts = {}
        for w in words:
            for p in zip(w, w[1:]): counts[p] = counts.get(p, 0) + 1
        counts = {p: n for p, n in counts.items() if p[0] + p[1] not in made}
        if not counts: break
        best = max(counts, key=lambda p: (counts[p], p)); merges.append(best); made.add(best[0] + best[1])
        bpe = Bpe(merges); words = [bpe.merge([bytes([b]) for b in b"".join(w)]) for w in words]
    return Bpe(merges)


def make_tokenizer(folder, rng, ctx):
    bpe = train_bpe(TEXTS, 150)
    texts = TEXTS + ["".join(rng.choices("".join(TEXTS), k=rng.randrange(1, 30))) for _ in range(60)]
    hexed = lambda b: (b.encode() if isinstance(b, str) else b).hex()
    cases = []
    for text in texts:
        padded, mask = bpe.padded(text, ctx)
        cases.append(dict(text=hexed(text), lower=hexed(text.lower()), pieces=[hexed(w) for w in PATTERN.findall(text.lower())],
                          ids=bpe.encode(text), padded=padded, mask=mask))
    decode = []
    for _ in range(20):
        ids = [rng.randrange(bpe.end) for _ in range(rng.randrange(8))]
        decode.append(dict(ids=ids, text=hexed(b"".join(bpe.vocab[i] for i in ids).decode("utf-8", errors="replace"))))
    root = dict(end_token=bpe.end, n_vocab=bpe.end + 1, ctx=ctx, vocab=[hexed(v) for v in bpe.vocab + [b"<|endoftext|>"]],
                merges=[[hexed(a), hexed(b)] for a, b in bpe.merges], cases=cases, decode_cases=decode)
    json.dump(root, open(os.path.join(folder, "tokenizer.json"), "w"))
    return bpe


# --- the process -------------------------------------------------------------------------------------------------

def betas_of(schedule, n):
    if schedule == "linear": return np.linspace(0.1 / n, 20 / n, n)
    f = lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.array([min(1 - f((i + 1) / n) / f(i / n), 0.999) for i in range(n)])


def kept_steps(n, counts):
    if counts == "": return list(range(n))
    if counts == "fast27":
        kept = kept_steps(n, "10,10,3,2,2"); kept[-1] -= 2
        return kept
    if counts.startswith("ddim"):
        return next(list(range(0, n, k)) for k in range(1, n) if len(range(0, n, k)) == int(counts[4:]))
    counts, start, kept = [int(c) for c in counts.split(",")], 0, []
    for i, count in enumerate(counts):
        size = n // len(counts) + (i < n % len(counts))
        assert count <= size
        stride = (size - 1) / (count - 1) if count > 1 else 1
        at = 0.0
        for _ in range(count): kept.append(start + round(at)); at += stride
        start += size
    return kept


class Process:
    """Tables of a schedule of n steps, respaced."""
    def __init__(self, schedule, n, counts=""):
        self.map = kept_steps(n, counts)
        abar = np.cumprod(1 - betas_of(schedule, n))[self.map] if counts else np.cumprod(1 - betas_of(schedule, n))
        betas = betas_of(schedule, n) if not counts else 1 - abar / np.append(1.0, abar[:-1])
        self.betas, abar = betas, np.cumprod(1 - betas)
        prev = np.append(1.0, abar[:-1])
        variance = betas * (1 - prev) / (1 - abar)
        self.tables = dict(
            betas=betas, alphas_cumprod=abar, alphas_cumprod_prev=prev, alphas_cumprod_next=np.append(abar[1:], 0.0),
            sqrt_alphas_cumprod=np.sqrt(abar), sqrt_one_minus_alphas_cumprod=np.sqrt(1 - abar),
            log_one_minus_alphas_cumprod=np.log(1 - abar), sqrt_recip_alphas_cumprod=np.sqrt(1 / abar),
            sqrt_recipm1_alphas_cumprod=np.sqrt(1 / abar - 1), posterior_variance=variance,
            posterior_log_variance_clipped=np.log(np.append(variance[1], variance[1:])),
            posterior_mean_coef1=betas * np.sqrt(prev) / (1 - abar), posterior_mean_coef2=(1 - prev) * np.sqrt(1 - betas) / (1 - abar))

    def __getattr__(self, name):
        if name == "log_betas": return np.log(self.tables["betas"])
        return self.tables[name]


def make_schedules(folder):
    with h5py.File(os.path.join(folder, "schedules.h5"), "w") as f:
        for schedule, n in (("linear", 400), ("squaredcos_cap_v2", 250), ("squaredcos_cap_v2", 1000)):
            g = f.create_group(f"{schedule}_{n}")
            g.attrs["schedule"], g.attrs["steps"] = np.bytes_(schedule), n
            for name, table in Process(schedule, n).tables.items(): save(g, name, table, "f64")
            g["rejected"] = np.array([str(n + 1), "ddim" + str(n - 1), "x", f"{n},1", "-3"], dtype="S12")
            for i, counts in enumerate(("", "7", "27", "3", "1", "5,0,9", "ddim25", "13,13,13", "fast27", "ddim50")):
                r = g.create_group(f"respaced/{i}")
                process = kept_steps(n, counts)
                r.attrs["section_counts"], r.attrs["steps"] = np.bytes_(counts), len(process)
                r.attrs["constructible"] = int(len(process) > 1)
                save(r, "timestep_map", np.array(process))
                if len(process) > 1 and counts:
                    for name, table in Process(schedule, n, counts).tables.items(): save(r, name, table, "f64")
        t = torch.tensor([0.0, 1.5, 17, 250.25, 999])
        save(f, "timestep_embedding/timesteps", t, "input")
        for dim in (6, 64): save(f, f"timestep_embedding/dim_{dim}", timestep_embedding(t, dim))


# --- layers ------------------------------------------------------------------------------------------------------

def make_layers(folder, randn):
    with h5py.File(os.path.join(folder, "layers.h5"), "w") as f:
        x = randn(41) * 3
        for name, value in (("x", x), ("gelu", F.gelu(x)), ("silu", F.silu(x))): save(f, "activations/" + name, value)
        x, w, b = randn(3, 96, 3, 4), 1 + 0.1 * randn(96), 0.1 * randn(96)
        y = F.group_norm(x, 32, w, b)
        for name, value in (("x", x), ("weight", w), ("bias", b), ("plain", y), ("swish", F.silu(y))): save(f, "group_norm/" + name, value)
        x, w, b = randn(2, 7, 20), 1 + 0.1 * randn(20), 0.1 * randn(20)
        for name, value in (("x", x), ("weight", w), ("bias", b), ("out", F.layer_norm(x, (20,), w, b))): save(f, "layer_norm/" + name, value)
        x = randn(1, 5, 4, 10)
        save(f, "resample/x", x); save(f, "resample/avg_pool2x", F.avg_pool2d(x, 2))
        save(f, "resample/nearest2x", F.interpolate(x, scale_factor=2, mode="nearest"))
        for i, (size, new) in enumerate((((5, 3), (11, 3)), ((4, 4), (9, 13)))):
            x = randn(1, 4, *size)
            save(f, f"bilinear/{i}/x", x); f[f"bilinear/{i}"].attrs["size"] = new
            save(f, f"bilinear/{i}/out", F.interpolate(x, new, mode="bilinear", align_corners=False))
        n, heads, d, t, s = 3, 2, 12, 15, 4
        qkv, kv = randn(n, 3 * heads * d, t), randn(n, 2 * heads * d, s)
        g = f.create_group("attention/0"); g.attrs["heads"], g.attrs["head_channels"] = heads, d
        by_head = lambda z, k: [p.transpose(2, 3) for p in z.reshape(n, heads, k * d, -1).split(d, 2)]
        join = lambda h: h.transpose(2, 3).reshape(n, heads * d, -1)
        q, k, v = by_head(qkv, 3); ek, ev = by_head(kv, 2)
        save(g, "qkv", qkv); save(g, "encoder_kv", kv); save(g, "legacy", join(attend(q, k, v)))
        save(g, "glide", join(attend(q, torch.cat([ek, k], 2), torch.cat([ev, v], 2))))
        save(g, "new", join(attend(*(p.reshape(n, heads, d, t).transpose(2, 3) for p in qkv.split(heads * d, 1)))))


# --- models ------------------------------------------------------------------------------------------------------

def randomize(model, randn):
    for name, p in model.named_parameters():
        if p.ndim == 1 and ("norm" in name or "ln" in name or name.endswith(("in_layers.0.weight", "out_layers.0.weight", "out.0.weight"))
                            ) and name.endswith("weight"): value = 1 + 0.1 * randn(*p.shape)
        elif p.ndim == 1: value = 0.1 * randn(*p.shape)
        elif "embedding" in name: value = 0.5 * randn(*p.shape)
        else: value = randn(*p.shape) / math.sqrt(p[0].numel())
        p.data = value


def describe(f, cfg, schedule, steps, checkpoint):
    ds = [cfg["image_size"] // s for s in cfg["attention"]]
    attrs = dict(attention_ds=ds, channel_mult_values=cfg["mult"], num_channels=cfg["channels"], num_res_blocks=cfg["blocks"],
                 image_size=cfg["image_size"], in_channels=cfg["in_channels"], out_channels=6, num_head_channels=cfg["head_channels"],
                 num_heads=1, num_heads_upsample=-1, n_vocab=cfg["n_vocab"], text_ctx=cfg["text_ctx"], xf_width=cfg["text_width"],
                 xf_layers=cfg["text_layers"], xf_heads=cfg["text_heads"], xf_final_ln=1, xf_padding=1, use_scale_shift_norm=1,
                 resblock_updown=1, super_res=int(cfg["in_channels"] in (6, 10)), inpaint=int(cfg["in_channels"] in (7, 10)),
                 diffusion_steps=steps, noise_schedule=np.bytes_(schedule), checkpoint=np.bytes_(checkpoint))
    for name, value in attrs.items(): f.attrs[name] = value


class Maker:
    def __init__(self, folder, seed):
        self.folder, self.rng = folder, random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.randn = lambda *shape: torch.randn(*shape, generator=generator)
        self.rand = lambda *shape: torch.rand(*shape, generator=generator)
        self.models = {}

    def model(self, name, cfg, schedule, steps):
        cfg = dict(cfg, n_vocab=self.bpe.end + 1, dropout=0.0)
        model = Glide(cfg); randomize(model, self.randn)
        torch.save(model.state_dict(), os.path.join(self.folder, name + ".pt"))
        self.models[name] = (model, cfg, schedule, steps)
        return model, cfg

    def captions(self, n, cfg, texts=TEXTS):
        rows = [self.bpe.padded(self.rng.choice(texts), cfg["text_ctx"]) for _ in range(n)]
        return torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows], dtype=torch.bool)

    def batch(self, g, n, cfg, steps, fractional):
        size, inp = cfg["image_size"], {}
        x, t = self.randn(n, 3, size, size), self.rand(n) * (steps - 1)
        if not fractional: t = t.round()
        tokens, mask = self.captions(n, cfg)
        for name, value in (("x", x), ("timesteps", t), ("tokens", tokens), ("mask", mask)): save(g, name, value, "input")
        if cfg["in_channels"] in (6, 10):
            inp["low_res"] = self.randn(n, 3, size // 2, size // 4); save(g, "low_res", inp["low_res"], "input")
        if cfg["in_channels"] in (7, 10):
            inp["known"], inp["known_mask"] = self.randn(n, 3, size, size), (self.rand(n, 1, size, size) > 0.4).float()
            save(g, "inpaint_image", inp["known"], "input"); save(g, "inpaint_mask", inp["known_mask"], "input")
        return (x, t, tokens, mask), inp

    def trace(self, f, model, args, inp):
        kept = {}
        hooks = [model.time_embed.register_forward_hook(lambda m, i, o: kept.update(time_embed=o)),
                 model.middle_block.register_forward_hook(lambda m, i, o: kept.update(middle_block=o)),
                 model.out.register_forward_hook(lambda m, i, o: kept.update(out=o))]
        for part in ("input_blocks", "output_blocks"):
            for i, block in enumerate(getattr(model, part)):
                hooks.append(block.register_forward_hook(lambda m, _, o, name=f"{part}.{i}": kept.update({name: o})))
        model(*(a[:1] for a in args), **{k: v[:1] for k, v in inp.items()})
        kept["xf_proj"], kept["xf_out"] = model.encode_text(args[2][:1], args[3][:1])
        for hook in hooks: hook.remove()
        for name, value in kept.items(): save(f, "trace/" + name, value)

    @torch.no_grad()
    def unet(self, name, cfg, schedule, steps):
        model, cfg = self.model(name, cfg, schedule, steps)
        with h5py.File(os.path.join(self.folder, name + ".h5"), "w") as f:
            describe(f, cfg, schedule, steps, name + ".pt"); describe_checkpoint(f, model.state_dict(), name + ".pt")
            for group, n in (("a", 3), ("b", 1), ("third", 2)):
                g = f.create_group(group)
                args, inp = self.batch(g, n, cfg, steps, group != "a")
                save(g, "out", model(*args, **inp))
                if group == "a": self.trace(f, model, args, inp)
                if "low_res" in inp:
                    for i, size in enumerate(((3, 5), (cfg["image_size"],) * 2, (2, 2), (7, 1))):
                        low = self.randn(n, 3, *size)
                        save(g, f"low_res_{i}", low, "input"); save(g, f"out_low_res_{i}", model(*args, **dict(inp, low_res=low)))
                if "known" in inp:
                    without = {k: v for k, v in inp.items() if k == "low_res"}
                    save(g, "out_no_inpaint", model(*args, **without))

    @torch.no_grad()
    def text(self, base):
        model, cfg, schedule, steps = self.models[base]
        with h5py.File(os.path.join(self.folder, "text_transformer.h5"), "w") as f:
            describe(f, cfg, schedule, steps, base + ".pt")
            tokens, mask = self.captions(5, cfg)
            save(f, "tokens", tokens, "input"); save(f, "mask", mask, "input")
            seen = []
            hooks = [b.register_forward_hook(lambda m, i, o: seen.append((i[0], o))) for b in model.transformer["resblocks"]]
            pooled, text = model.encode_text(tokens, mask)
            for hook in hooks: hook.remove()
            save(f, "xf_in", seen[0][0]); save(f, "xf_out", text); save(f, "xf_proj", pooled)
            for i, (_, out) in enumerate(seen): save(f, f"resblock.{i}", out)


# --- sampling ----------------------------------------------------------------------------------------------------

def single(table, t, like):
    """Entry t (int or one per row) of a double-precision table, rounded to single when it is taken out."""
    return torch.tensor(np.asarray(table)[t], dtype=torch.float32).reshape(-1, *[1] * (like.ndim - 1))


class Run:
    """One way of sampling: prediction(x, t) -> eps, v and x_0 as the step uses it."""
    def __init__(self, process, model, captions, scale=1.0, empty=None, clip=True, known=None, **inp):
        self.p, self.model, self.scale, self.clip, self.known, self.inp = process, model, scale, clip, known, inp
        self.captions, self.empty = captions, empty
        if known: inp["known"], inp["known_mask"] = known

    def predict(self, x, t):
        ts = torch.tensor(np.asarray(self.p.map)[np.broadcast_to(t, len(x))], dtype=torch.float32)
        out = self.model(x, ts, *self.captions, **self.inp)
        eps, v = out[:, :3], out[:, 3:]
        if self.scale != 1:
            other = self.model(x, ts, *self.empty, **self.inp)[:, :3]
            eps = other + self.scale * (eps - other)
        x_0 = single(self.p.sqrt_recip_alphas_cumprod, t, x) * x - single(self.p.sqrt_recipm1_alphas_cumprod, t, x) * eps
        self.raw = x_0
        if self.known: x_0 = x_0 * (1 - self.known[1]) + self.known[0] * self.known[1]
        return v, x_0.clamp(-1, 1) if self.clip else x_0

    def ddpm(self, x, t, noise):
        v, x_0 = self.predict(x, t)
        frac = (v + 1) / 2
        log_var = frac * single(self.p.log_betas, t, x) + (1 - frac) * single(self.p.posterior_log_variance_clipped, t, x)
        mean = single(self.p.posterior_mean_coef1, t, x) * x_0 + single(self.p.posterior_mean_coef2, t, x) * x
        return mean + (t != 0) * torch.exp(0.5 * log_var) * noise, x_0

    def ddim(self, x, t, noise, eta=0.0, to="alphas_cumprod_prev"):
        _, x_0 = self.predict(x, t)
        eps = (single(self.p.sqrt_recip_alphas_cumprod, t, x) * x - x_0) / single(self.p.sqrt_recipm1_alphas_cumprod, t, x)
        a, b = single(self.p.alphas_cumprod, t, x), single(self.p.tables[to], t, x)
        sigma = eta * torch.sqrt((1 - b) / (1 - a)) * torch.sqrt(1 - a / b) if eta else 0 * a
        mean = x_0 * torch.sqrt(b) + torch.sqrt(1 - b - sigma ** 2) * eps
        return mean + (t != 0) * sigma * noise if eta else mean, x_0


def sample(g, run, step, x, noise, keep_x_0=False):
    xs, x_0s = [], []
    for i, t in enumerate(reversed(range(len(run.p.map)))):
        x, x_0 = step(x, t, noise[i]); xs.append(x); x_0s.append(x_0)
    save(g, "x", torch.stack(xs))
    if keep_x_0: save(g, "pred_xstart", torch.stack(x_0s))


def sample_dpm(g, run, clock, order, steps, skip, x_T):
    g.attrs["order"], g.attrs["steps"], g.attrs["skip_type"] = order, steps, np.bytes_(skip)
    told = []
    def predict(x, t):
        told.append(clock.told(t)); ts = torch.full((len(x),), told[-1], dtype=torch.float32)
        eps, other = (run.model(x.float(), ts, *captions)[:, :3].double() for captions in (run.captions, run.empty))
        return ((x - clock.sigma(t) * (other + run.scale * (eps - other))) / clock.alpha(t)).clamp(-1, 1)
    xs = multistep(clock, clock.times(skip, 1, 1 / clock.n, steps), order, x_T.double(), predict)
    save(g, "x", torch.stack([x_T.double()] + xs)); save(g, "t_input", told)


def describe_run(g, sampler, guidance="none", scale=None, clip=1, eta=None, schedule=None):
    g.attrs["sampler"], g.attrs["guidance"], g.attrs["clip_denoised"] = np.bytes_(sampler), np.bytes_(guidance), clip
    for name, value in (("guidance_scale", scale), ("eta", eta)):
        if value is not None: g.attrs[name] = value
    if schedule: g.attrs["noise_schedule"] = np.bytes_(schedule)


def start(maker, g, name, counts, n, temperature=None):
    model, cfg, schedule, steps = maker.models[name]
    for key, value in (("config", name + ".h5"), ("checkpoint", name + ".pt"), ("timestep_respacing", counts), ("noise_schedule", schedule)):
        g.attrs[key] = np.bytes_(value)
    if temperature: g.attrs["upsample_temp"] = temperature
    captions, empty = maker.captions(n, cfg), maker.captions(n, cfg, [""])
    for key, value in (("tokens", captions[0]), ("mask", captions[1]), ("uncond_tokens", empty[0]), ("uncond_mask", empty[1])):
        save(g, key, value, "input")
    return model, cfg, schedule, steps, captions, empty


def clear_of_clamps(maker, shape, runs):
    """Noise from which no x_0 of a first step falls between the clamps: the cosine schedule multiplies errors there by 2e4."""
    for _ in range(500):
        x = maker.randn(*shape)
        for run in runs: run.predict(x, len(run.p.map) - 1)
        if all((run.raw.abs() > 3).all() for run in runs): return x
    raise SystemExit("no noise found that stays clear of the clamps")


@torch.no_grad()
def make_samplers(maker):
    with h5py.File(os.path.join(maker.folder, "samplers.h5"), "w") as f:
        g = f.create_group("base")
        model, cfg, schedule, steps, captions, empty = start(maker, g, "unet_base", "3,4", 3)
        process, size = Process(schedule, steps, "3,4"), (3, 3, cfg["image_size"], cfg["image_size"])
        plain, guided = Run(process, model, captions), Run(process, model, captions, 2.5, empty)
        x_T, noise = clear_of_clamps(maker, size, [plain, guided]), maker.randn(len(process.map), *size)
        save(g, "x_T", x_T, "input"); save(g, "noise", noise, "input")
        r = g.create_group("plain_ddpm"); describe_run(r, "ddpm"); sample(r, plain, plain.ddpm, x_T, noise)
        r = g.create_group("cfg_ddpm"); describe_run(r, "ddpm", "cfg", 2.5); sample(r, guided, guided.ddpm, x_T, noise, True)
        r = g.create_group("cfg_ddim"); describe_run(r, "ddim", "cfg", 2.5, eta=0.0); sample(r, guided, guided.ddim, x_T, noise)
        r = g.create_group("ddim_eta"); describe_run(r, "ddim", eta=0.4)
        sample(r, plain, lambda x, t, z: plain.ddim(x, t, z, 0.4), x_T, noise, True)
        loose = Run(Process("linear", steps, "3,4"), model, captions, 2.5, empty, clip=False)
        r = g.create_group("cfg_ddpm_noclip"); describe_run(r, "ddpm", "cfg", 2.5, clip=0, schedule="linear")
        sample(r, loose, loose.ddpm, x_T, noise)
        r = g.create_group("ddim_reverse"); describe_run(r, "ddim_reverse")
        x, t = maker.randn(*size), np.array([0, 4, 6])
        x_next, x_0 = plain.ddim(x, t, None, to="alphas_cumprod_next")
        for key, value in (("x", x), ("t", t), ("x_next", x_next), ("pred_xstart", x_0)): save(r, key, value)
        r = g.create_group("dpm"); describe_run(r, "dpmsolver++", "cfg", 2.5)
        sample_dpm(r, guided, Clock(np.cumprod(1 - betas_of(schedule, steps))), 3, 7, "logSNR", x_T)
        r = g.create_group("later"); describe_run(r, "sampler of the future")

        for name, inpaint, counts in (("unet_upsampler", False, "ddim8"), ("unet_upsampler_inpaint", True, "5")):
            g = f.create_group(name + "_runs")
            model, cfg, schedule, steps, captions, _ = start(maker, g, name, counts, 2, 0.9)
            process, size = Process(schedule, steps, counts), (2, 3, cfg["image_size"], cfg["image_size"])
            samples = maker.randn(2, 3, 4, 3) * 0.6
            low_res = torch.round((samples + 1) * 127.5) / 127.5 - 1
            unit, noise = maker.randn(*size), maker.randn(len(process.map), *size)
            for key, value in (("base_samples", samples), ("low_res", low_res), ("unit_noise", unit)): save(g, key, value, "input")
            known = None
            if inpaint:
                mask = (maker.rand(2, 1, *size[2:]) > 0.5).float(); known = (maker.randn(*size) * 0.4 * mask, mask)
                for key, value in (("noise", noise), ("inpaint_image", known[0]), ("inpaint_mask", mask)): save(g, key, value, "input")
            run = Run(process, model, captions, known=known, low_res=low_res)
            describe_run(g, "ddpm" if inpaint else "ddim", eta=None if inpaint else 0.0)
            sample(g, run, run.ddpm if inpaint else run.ddim, unit * 0.9, noise, inpaint)

        g = f.create_group("paint")
        model, cfg, schedule, steps, captions, empty = start(maker, g, "unet_inpaint", "9", 2)
        process, size = Process(schedule, steps, "9"), (2, 3, cfg["image_size"], cfg["image_size"])
        mask = (maker.rand(2, 1, *size[2:]) > 0.5).float(); known = (maker.randn(*size) * 0.4 * mask, mask)
        run = Run(process, model, captions, 4.0, empty, known=known)
        x_T, noise = clear_of_clamps(maker, size, [run]), maker.randn(9, *size)
        for key, value in (("x_T", x_T), ("noise", noise), ("inpaint_image", known[0]), ("inpaint_mask", mask)): save(g, key, value, "input")
        describe_run(g, "ddpm", "cfg", 4.0); sample(g, run, run.ddpm, x_T, noise, True)


# --- training ----------------------------------------------------------------------------------------------------

def vb_bits(p, out, x_start, x_t, t):
    """Improved DDPM's bound per sample in bits: KL to the posterior, at step 0 the likelihood of the 8-bit picture."""
    s = lambda table: single(table, t, x_t)
    eps, frac = out[:, :3].detach(), (out[:, 3:] + 1) / 2
    log_var = frac * s(p.log_betas) + (1 - frac) * s(p.posterior_log_variance_clipped)
    x_0 = s(p.sqrt_recip_alphas_cumprod) * x_t - s(p.sqrt_recipm1_alphas_cumprod) * eps
    mean = s(p.posterior_mean_coef1) * x_0 + s(p.posterior_mean_coef2) * x_t
    true = s(p.posterior_mean_coef1) * x_start + s(p.posterior_mean_coef2) * x_t
    true_log_var = s(p.posterior_log_variance_clipped)
    kl = 0.5 * (-1 + log_var - true_log_var + torch.exp(true_log_var - log_var) + (true - mean) ** 2 * torch.exp(-log_var))
    cdf = lambda z: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))
    scale, centred = torch.exp(-0.5 * log_var), x_start - mean
    upper, lower = cdf(scale * (centred + 1 / 255)), cdf(scale * (centred - 1 / 255))
    likelihood = torch.where(x_start < -0.999, upper.clamp(min=1e-12).log(), torch.where(
        x_start > 0.999, (1 - lower).clamp(min=1e-12).log(), (upper - lower).clamp(min=1e-12).log()))
    first = torch.tensor(t == 0).reshape(-1, 1, 1, 1)
    return torch.where(first, -likelihood, kl).mean((1, 2, 3)) / math.log(2)


def losses(model, p, b, t, rescale=1.0):
    x_t = single(p.sqrt_alphas_cumprod, t, b["noise"]) * b["x_start"] + single(p.sqrt_one_minus_alphas_cumprod, t, b["noise"]) * b["noise"]
    out = model(x_t, torch.tensor(np.asarray(p.map)[t], dtype=torch.float32), b["tokens"], b["mask"].bool())
    mse = ((out[:, :3] - b["noise"]) ** 2).mean((1, 2, 3))
    vb = vb_bits(p, out, b["x_start"], x_t, t) * rescale
    return mse, vb


def save_losses(g, model, mse, vb):
    for name, value in (("mse", mse), ("vb", vb), ("loss", mse + vb)): save(g, name, value)
    model.zero_grad(); (mse + vb).mean().backward()


def training_batch(maker, g, n, cfg, steps, names=("x_start", "noise", "tokens", "mask")):
    size = cfg["image_size"]
    tokens, mask = maker.captions(n, cfg)
    x = (maker.randn(n, 3, size, size) * 0.7).clamp(-1, 1)
    b = dict(x_start=x, noise=maker.randn(n, 3, size, size), tokens=tokens, mask=mask)
    t = np.array([0, steps - 1, 1] + [maker.rng.randrange(steps) for _ in range(n)])[:n]
    for name in names: save(g, name, b[name], "input")
    save(g, "t", t, "input")
    return b, t


def step_index(f, model, limit, head):
    """Which elements the step vectors keep: small parameters whole, of others the first."""
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    counts = [s if s <= limit else head for s in sizes]
    f["index/names"] = np.array(names, dtype="S")
    for key, value in (("count", counts), ("size", sizes), ("offset", np.cumsum([0] + counts[:-1]))): save(f, "index/" + key, np.array(value))
    return lambda tensors: torch.cat([p.detach().reshape(-1)[:c].float() for p, c in zip(tensors, counts)])


def train(model, p, batches, o, f, vector, jitter=None):
    """Three steps of AdamW with an average; with `f` everything is stored. jitter() is added to every gradient."""
    opt = torch.optim.AdamW(model.parameters(), o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"])
    ema, vectors = [q.detach().clone() for q in model.parameters()], []
    for i, (b, t) in enumerate(batches):
        mse, vb = losses(model, p, b, t)
        model.zero_grad(); (mse + vb).mean().backward()
        if f:
            for name, value in (("mse", mse), ("vb", vb), ("loss", mse + vb)): save(f, f"batch/{i}/{name}", value)
            save(f, f"batch/{i}/grad_norm", torch.stack([q.grad.norm() for q in model.parameters()]).norm().reshape(1))
            for name, q in model.named_parameters():
                if i == 0: save(f, "grads/" + name, q.grad)
        for q in model.parameters() if jitter else (): q.grad.add_(jitter(*q.shape))
        opt.step()
        for e, q in zip(ema, model.parameters()): e.mul_(o["ema_rate"]).add_(q.detach(), alpha=1 - o["ema_rate"])
        vectors.append(vector(model.parameters()))
        if f: save(f, f"step{i + 1}/params", vectors[-1]); save(f, f"step{i + 1}/ema", vector(ema))
    return vectors


def doubled(x):
    """The bound at step 0 is a logarithm of a difference of nearly equal numbers, so losses and gradients are made in double."""
    if isinstance(x, dict): return {k: v.double() if v.is_floating_point() else v for k, v in x.items()}
    twin = Glide(x.cfg).double(); twin.load_state_dict(x.state_dict())
    return twin


def make_training(maker, cfg, schedule, steps):
    model, cfg = maker.model("training", cfg, schedule, steps)
    o = dict(lr=5e-4, weight_decay=0.05, beta1=0.85, beta2=0.995, eps=1e-7, ema_rate=0.9)
    with h5py.File(os.path.join(maker.folder, "training.h5"), "w") as f:
        describe(f, cfg, schedule, steps, "training.pt"); describe_checkpoint(f, model.state_dict(), "training.pt")
        for name, value in dict(o, steps=3, rescaled_respacing=np.bytes_("20")).items(): f.attrs[name] = value
        p, short, exact = Process(schedule, steps), Process(schedule, steps, "20"), doubled(model)
        vector = step_index(f, model, 100, 40)
        batches = [training_batch(maker, f.create_group(f"batch/{i}"), 5, cfg, steps) for i in range(3)]
        batches_64 = [(doubled(b), t) for b, t in batches]
        t = np.array([0, 19, 3, 7, 7])
        g = f.create_group("rescaled"); save(g, "t", t, "input")
        save_losses(g, exact, *losses(exact, short, batches_64[0][0], t, len(short.map) / 1000))
        for name, q in exact.named_parameters():
            if name.startswith(("out.", "time_embed.2")): save(g, "grads/" + name, q.grad)
        # stable: neither single precision nor another order of summation changes the step
        jitter = lambda *shape: 1e-6 * maker.randn(*shape)
        others = [train(doubled(model), p, batches_64, o, None, vector, jitter), train(exact, p, batches_64, o, f, vector)]
        single_ = train(model, p, batches, o, None, vector)
        f["stable"] = torch.stack([(a - b).abs() < 4e-6 for other in others for a, b in zip(other, single_)]).all(0).numpy().astype(np.uint8)

        base, cfg, schedule, steps = maker.models["unet_base"]
        base = doubled(base)
        g = f.create_group("base")
        b, t = training_batch(maker, g, 2, cfg, steps)
        save_losses(g, base, *losses(base, Process(schedule, steps), doubled(b), t))
        g["names"] = np.array([n for n, _ in base.named_parameters()], dtype="S")
        save(g, "grad_norms", torch.stack([q.grad.norm() for q in base.parameters()]))
        for name, q in list(base.named_parameters())[::5]: save(g, "grads/" + name, q.grad if q.numel() < 900 else q.grad.reshape(-1)[:700])

        q = torch.nn.Parameter(maker.randn(50)); opt = torch.optim.AdamW([q], o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"])
        ema, values, averages = q.detach().clone(), [], []
        grads = maker.randn(4, 50) * torch.exp(2 * maker.randn(50))
        save(f, "adamw/param", q.detach().clone(), "input"); save(f, "adamw/grads", grads, "input")
        for grad in grads:
            q.grad = grad.clone(); opt.step(); ema.mul_(o["ema_rate"]).add_(q.detach(), alpha=1 - o["ema_rate"])
            values.append(q.detach().clone()); averages.append(ema.clone())
        state = opt.state[q]
        for name, value in (("params", torch.stack(values)), ("ema", torch.stack(averages)), ("exp_avg", state["exp_avg"]), ("exp_avg_sq", state["exp_avg_sq"])):
            save(f, "adamw/" + name, value)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder"); ap.add_argument("--seed", type=int, default=1)
    o = ap.parse_args()
    os.makedirs(o.folder, exist_ok=True)
    torch.set_num_threads(1)
    m = Maker(o.folder, o.seed)
    m.bpe = make_tokenizer(o.folder, m.rng, 10)
    make_schedules(o.folder); make_layers(o.folder, m.randn)
    text = dict(text_ctx=10, text_width=48, text_layers=3, text_heads=3)
    m.unet("unet_base", dict(text, image_size=12, in_channels=3, channels=32, mult=[1, 2], blocks=2, attention=[6], head_channels=32), "squaredcos_cap_v2", 600)
    m.text("unet_base")
    text = dict(text_ctx=6, text_width=20, text_layers=1, text_heads=2)
    m.unet("unet_upsampler", dict(text, image_size=16, in_channels=6, channels=32, mult=[1, 1, 2], blocks=1, attention=[4, 16], head_channels=16), "linear", 1000)
    m.unet("unet_inpaint", dict(text, image_size=8, in_channels=7, channels=16, mult=[2, 4], blocks=1, attention=[], head_channels=8), "squaredcos_cap_v2", 1000)
    m.unet("unet_upsampler_inpaint", dict(text, image_size=8, in_channels=10, channels=64, mult=[1], blocks=1, attention=[8], head_channels=64), "linear", 500)
    make_samplers(m)
    make_solvers(o.folder, betas_of, o.seed)
    make_guides(o.folder, m.randn, m.rng)
    make_training(m, dict(text, image_size=8, in_channels=3, channels=32, mult=[1, 1], blocks=1, attention=[4], head_channels=16), "linear", 300)


if __name__ == "__main__": main()
