"""Fixtures of the guides (classifier_*.h5, clip.h5 and their checkpoints), computed by guides_torch.py; part of make_fixtures.py.

  python3 tests/reference/make_guides.py DIR [--seed N]
"""
import math, os, random
import h5py, numpy as np, torch
from fixture_files import arguments, describe_checkpoint, save
from guides_torch import Classifier, Encoder, unit


def randomize(model, randn):
    """No parameter at zero or at its default."""
    for name, p in model.named_parameters():
        norm = name.endswith((".g", "out.0.weight", "out.1.weight", "in_layers.0.weight", "out_layers.0.weight", "norm.weight"))
        if p.ndim == 1: value = (1 if norm else 0) + 0.1 * randn(*p.shape)
        elif name.endswith(("w_pos", "w_t", "positional_embedding")): value = 0.5 * randn(*p.shape)
        elif name.endswith("w_voc"): value = randn(*p.shape)
        else: value = randn(*p.shape) / math.sqrt(p[0].numel())
        p.data = value


def write_checkpoint(f, model, folder, name, group="checkpoint"):
    torch.save(model.state_dict(), os.path.join(folder, name))
    describe_checkpoint(f, model.state_dict(), name, group)


def keep_outputs(modules, names):
    """Hooks that collect results of modules under the given names."""
    kept = {}
    return kept, [m.register_forward_hook(lambda _, i, o, name=name: kept.update({name: o})) for m, name in zip(modules, names)]


def make_classifier(folder, name, cfg, randn, rng, n, scale, steps=1000):
    model = Classifier(cfg); randomize(model, randn)
    size = cfg["image_size"]
    x, y = randn(n, 3, size, size), torch.tensor([rng.randrange(cfg["classes"]) for _ in range(n)])
    t = torch.tensor([rng.choice((rng.randrange(steps), rng.random() * (steps - 1))) for _ in range(n)], dtype=torch.float32)
    with h5py.File(os.path.join(folder, f"classifier_{name}.h5"), "w") as f:
        attrs = dict(image_size=size, in_channels=3, in_channels_total=3, model_channels=cfg["channels"], channel_mult=cfg["mult"],
                     num_res_blocks=cfg["blocks"], attention_resolutions=np.array(cfg["attention_ds"], dtype=np.int64),
                     num_head_channels=cfg["head_channels"], num_heads=cfg["heads"], num_heads_upsample=-1,
                     out_channels=cfg["classes"], pool=np.bytes_(cfg["pool"]), pool_width=cfg["pool_width"],
                     resblock_updown=int(cfg["updown"]), use_scale_shift_norm=int(cfg["film"]),
                     use_new_attention_order=int(cfg["parts_first"]), classifier_scale=float(scale),
                     checkpoint=np.bytes_(f"classifier_{name}.pt"), model_class=np.bytes_("EncoderUNetModel"))
        for key, value in attrs.items(): f.attrs[key] = value
        write_checkpoint(f, model, folder, f"classifier_{name}.pt")
        for key, value in (("x", x), ("y", y), ("timesteps", t)): save(f, key, value, "input")
        x.requires_grad_(True)
        logits = model(x, t)
        log_prob = torch.log_softmax(logits, 1)[torch.arange(n), y]
        grad = torch.autograd.grad(log_prob.sum(), x)[0]
        for key, value in (("logits", logits), ("log_prob", log_prob), ("grad", grad), ("cond", grad * scale)): save(f, key, value)
        parts = [*model.input_blocks, model.time_embed, model.middle_block, model.out]
        names = [f"input_blocks.{i}" for i in range(len(model.input_blocks))] + ["time_embed", "middle_block", "out"]
        kept, hooks = keep_outputs(parts, names)
        model(x[:1], t[:1])
        for hook in hooks: hook.remove()
        for key, value in kept.items(): save(f, "trace/" + key, value)


def trace_encoder(f, model, *args):
    names = [name for name in model.blocks if name != "output"]
    kept, hooks = keep_outputs([model.blocks[name] for name in names], names)
    raw = model(*args)
    for hook in hooks: hook.remove()
    for key, value in kept.items(): save(f, f"trace_{model.kind}/{key}", value)
    return raw


def make_clip(folder, cfg, randn, rng, n, scale):
    encoders = {kind: Encoder(cfg, kind) for kind in ("image", "text")}
    for model in encoders.values(): randomize(model, randn)
    lengths = torch.tensor([rng.randrange(1, cfg["max_text_len"] + 1) for _ in range(n)])
    lengths[0] = cfg["max_text_len"]
    tokens = torch.tensor([[rng.randrange(cfg["n_vocab"]) if j < l else 0 for j in range(cfg["max_text_len"])] for l in lengths])
    x, t = randn(n, 3, cfg["image_size"], cfg["image_size"]), torch.tensor([rng.randrange(cfg["n_timesteps"]) for _ in range(n)])
    with open(os.path.join(folder, "clip_config.yaml"), "w") as y:
        y.writelines(f"{key}: {value}\n" for key, value in cfg.items())
    with h5py.File(os.path.join(folder, "clip.h5"), "w") as f:
        for key, value in cfg.items(): f.attrs[key] = np.bytes_(value) if isinstance(value, str) else value
        f.attrs["grad_scale"], f.attrs["config"] = float(scale), np.bytes_("clip_config.yaml")
        for kind, model in encoders.items():
            f.attrs[f"{kind}_checkpoint"] = np.bytes_(f"clip_{kind}_enc.pt")
            write_checkpoint(f, model, folder, f"clip_{kind}_enc.pt", f"checkpoint_{kind}")
        for key, value in (("x", x), ("timesteps", t), ("tokens", tokens), ("text_len", lengths)): save(f, key, value, "input")
        x.requires_grad_(True)
        image, text = trace_encoder(f, encoders["image"], x, t), trace_encoder(f, encoders["text"], tokens, lengths)
        similarity = cfg["logit_scale"] * (unit(image) * unit(text)).sum(1)
        grad = torch.autograd.grad(similarity.sum(), x)[0]
        for key, value in (("image_raw", image), ("text_raw", text), ("image_embedding", unit(image)), ("text_embedding", unit(text)),
                           ("similarity", similarity), ("cond", grad * scale)): save(f, key, value)


def classifier_cfg(pool, **changes):
    return dict(dict(image_size=8, channels=8, mult=[4], blocks=1, attention_ds=[1], head_channels=16, heads=1, film=True, updown=True,
                     parts_first=False, pool=pool, pool_width=2048, classes=5), **changes)


def make_guides(folder, randn, rng):
    """Four heads, one each of everything that a configuration can say."""
    for name, cfg, n in (
            ("attention", classifier_cfg("attention", image_size=24, channels=32, mult=[1, 2, 2], blocks=2, attention_ds=[2, 4], classes=13), 3),
            ("attention_new", classifier_cfg("attention", image_size=16, mult=[4, 8], head_channels=32, film=False, parts_first=True, attention_ds=[]), 5),
            ("adaptive", classifier_cfg("adaptive", image_size=12, channels=48, mult=[2 / 3, 2], head_channels=-1, heads=4, updown=False, attention_ds=[2]), 2),
            ("spatial", classifier_cfg("spatial", image_size=16, channels=16, mult=[2, 4, 6], blocks=1, attention_ds=[1, 4], parts_first=True, classes=1000), 3),
            ("spatial_v2", classifier_cfg("spatial_v2", channels=64, mult=[0.5, 1], blocks=3, attention_ds=[2], head_channels=8, updown=False, film=False), 4)):
        make_classifier(folder, name, cfg, randn, rng, n, rng.choice((1, 2.5, 10)))
    make_clip(folder, dict(image_size=24, patch_size=3, n_embd=40, n_head_text=3, n_head_state_text=8, n_xf_blocks_text=3, n_head_image=4,
                           n_head_state_image=24, n_xf_blocks_image=1, n_timesteps=500, logit_scale=30.0, beta_schedule="linear",
                           n_vocab=300, max_text_len=41), randn, rng, 4, 2.0)


if __name__ == "__main__":
    o = arguments()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(o.seed)
    make_guides(o.folder, lambda *shape: torch.randn(*shape, generator=generator), random.Random(o.seed))
