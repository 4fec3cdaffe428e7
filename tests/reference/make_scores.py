"""Fixture of the distances between sets of pictures (scores.h5), in double precision, straight from the papers' formulas.

  python3 tests/reference/make_scores.py DIR [--seed N]

KID: arXiv 1801.01401, unbiased estimate, kernel (x.y / d + 1)^3. Frechet distance: arXiv 1706.08500; with covariances
A^T A and B^T B the trace of the root of their product is the sum of the singular values of A B^T (taken so, nothing is lost where the
product has eigenvalues 0). Precision and recall: arXiv 1904.06991, k = 3. Values of groups: each group is left out, and everything
computed anew (KID, recall); for the Frechet distance a group's weight is moved by a hair's breadth.
"""
import numpy as np
from fixture_files import make_file


def kernel(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3


def kid(x, y):
    n, m = len(x), len(y)
    kxx, kyy = kernel(x, x), kernel(y, y)
    return (kxx.sum() - np.trace(kxx)) / n / (n - 1) + (kyy.sum() - np.trace(kyy)) / m / (m - 1) - 2 * kernel(x, y).mean()


def frechet(x, y, weights=None):
    m = len(y)
    w = np.full(m, 1 / m) if weights is None else weights
    mean_x, mean_y = x.mean(0), w @ y
    a, b = (x - mean_x) / np.sqrt(len(x) - 1), (y - mean_y) * np.sqrt(w * m / (m - 1))[:, None]
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((mean_x - mean_y) ** 2).sum() + (a ** 2).sum() + (b ** 2).sum() - 2 * root


def distances(a, b):
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))


def inside(x, reference, k=3):
    radius = np.sort(distances(reference, reference), axis=1)[:, k]  # column 0 is the vector itself
    return (distances(x, reference) <= radius[None, :]).any(1)


def pseudo(value, without):
    v = len(without) * value - (len(without) - 1) * np.array(without)
    return v - v.mean() + value


def frechet_groups(x, y, groups, each, value):
    out = []
    for g in range(groups):
        def at(t):
            w = np.full(len(y), (1 - t) / len(y))
            w[g * each:(g + 1) * each] += t / each
            return frechet(x, y, w)
        out.append(value + (8 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4)
    return np.array(out)


def case(rng, file, name, real, groups, each, features, shift, scale):
    mix = rng.normal(size=(features, features)) / np.sqrt(features)
    x = (rng.normal(size=(real, features)) @ mix).astype(np.float32)
    centres = np.repeat(rng.normal(size=(groups, features)), each, 0)
    y = ((0.6 * centres + 0.8 * scale * rng.normal(size=(groups * each, features))) @ mix + shift).astype(np.float32)
    a, b = x.astype(np.float64), y.astype(np.float64)
    left = [np.delete(b, range(g * each, (g + 1) * each), 0) for g in range(groups)]
    values = [kid(a, b), frechet(a, b), inside(b, a).mean(), inside(a, b).mean()]
    of_group = [pseudo(values[0], [kid(a, y_) for y_ in left]), frechet_groups(a, b, groups, each, values[1]),
                inside(b, a).reshape(groups, each).mean(1), pseudo(values[3], [inside(a, y_).mean() for y_ in left])]
    g = file.create_group(name)
    g["real"], g["pictures"] = x, y.reshape(groups, each, features)
    g["distances"], g["of_group"] = np.array(values), np.array(of_group)
    g["real_distance"] = distances(a, a).sum() / real / (real - 1)
    print(name, np.round(values, 4))


def eigen(rng, file):
    a = rng.normal(size=(23, 23))
    a = a + a.T
    file["eigen/matrix"], file["eigen/values"] = a, np.linalg.eigvalsh(a)


def fill(rng, f):
    case(rng, f, "many", 90, 12, 5, 7, 0.3, 0.7)    # more pictures than features
    case(rng, f, "few", 40, 5, 3, 24, 0.1, 1.1)     # fewer
    case(rng, f, "single", 33, 20, 1, 9, 0.0, 1.0)  # groups of one
    eigen(rng, f)


if __name__ == "__main__":
    make_file("scores.h5", "distances between sets: kid, frechet, precision, recall; and their values of groups", fill)
