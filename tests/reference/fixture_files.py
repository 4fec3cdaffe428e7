"""How fixtures are written: what their makers are told, datasets with a role, and what a checkpoint holds."""
import argparse, os
import h5py, numpy as np


def arguments():
    """DIR [--seed N] of the command line; the folder is made."""
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    os.makedirs(o.folder, exist_ok=True)
    return o


def make_file(name, about, fill):
    """DIR/name, which fill(rng, file) fills."""
    o = arguments()
    with h5py.File(os.path.join(o.folder, name), "w") as f:
        f.attrs["about"] = about
        fill(np.random.default_rng(o.seed), f)


def save(file, name, value, role="output"):
    value = value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)
    if value.dtype == np.float64 and role != "f64": value = value.astype(np.float32)
    if value.dtype == np.int64: value = value.astype(np.int32)
    if value.dtype == bool: value = value.astype(np.uint8)
    data = file.create_dataset(name, data=value)
    data.attrs["role"] = np.bytes_("output" if role == "f64" else role)


def describe_checkpoint(f, state, checkpoint, group="checkpoint"):
    g = f.create_group(group); g.attrs["file"] = np.bytes_(checkpoint)
    g["names"], g["dtypes"] = np.array(list(state), dtype="S"), np.array([str(p.dtype)[6:] for p in state.values()], dtype="S")
    g["ndim"] = np.array([p.ndim for p in state.values()], dtype=np.int32)
    g["shape"] = np.array([list(p.shape) + [0] * (4 - p.ndim) for p in state.values()], dtype=np.int32)
    flat = [p.double().reshape(-1).numpy() for p in state.values()]
    g["sums"] = np.array([[v.sum(), np.abs(v).sum(), (v * np.arange(1, len(v) + 1)).sum()] for v in flat])
    g["ends"] = np.array([[v[0], v[-1]] for v in flat], dtype=np.float32)
