"""Fixture of the measures of enlarged pictures (quality.h5), in double precision, straight from the papers' formulas.

  python3 tests/reference/make_quality.py DIR [--seed N]

SSIM: Wang and others 2004, equation 13, each window as a sum over its 121 pixels. CIEDE2000: Sharma, Wu and Dalal 2005, the 34 pairs
of their table 1 as they were published, and pictures by their equations. Bicubic and Lanczos: Pillow's Image.resize on single
precision channels. The rest: numpy in one line each.
"""
import numpy as np
from PIL import Image
from fixture_files import make_file

PAIRS = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425    50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412    50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000   50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669       50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792      50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195      50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045      50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461      50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492    50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030    50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000        50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000        50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644  63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731      35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373  36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441      90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377      2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


def luma(p):
    return p @ np.array([0.299, 0.587, 0.114])


def psnr(a, b):
    return 10 * np.log10(255 ** 2 / ((a - b) ** 2).mean())


def ssim(a, b):
    a, b = luma(a), luma(b)
    g = np.exp(-(np.arange(11) - 5) ** 2 / (2 * 1.5 ** 2))
    w = np.outer(g, g) / g.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y:y + 11, x:x + 11], b[y:y + 11, x:x + 11]
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq, cov = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp ** 2 + mq ** 2 + c1) * (vp + vq + c2)))
    return np.mean(values)


def energy(p):
    p = luma(p)
    return (np.diff(p, axis=0) ** 2).sum() + (np.diff(p, axis=1) ** 2).sum()


def blocks(p, n):
    h, w, _ = p.shape
    return p.reshape(h // n, n, w // n, n, 3).mean((1, 3))


def lab(p):
    p = p / 255
    p = np.where(p <= 0.04045, p / 12.92, ((p + 0.055) / 1.055) ** 2.4)
    m = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    t = p @ m.T / np.array([0.95047, 1, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def difference(p, q):
    l1, a1, b1, l2, a2, b2 = *np.moveaxis(p, -1, 0), *np.moveaxis(q, -1, 0)
    c = (np.sqrt(a1 ** 2 + b1 ** 2) + np.sqrt(a2 ** 2 + b2 ** 2)) / 2
    g = 0.5 * (1 - np.sqrt(c ** 7 / (c ** 7 + 25.0 ** 7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = np.sqrt(a1 ** 2 + b1 ** 2), np.sqrt(a2 ** 2 + b2 ** 2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    d = h2 - h1
    dh = np.where(grey, 0, np.where(abs(d) <= 180, d, np.where(d > 180, d - 360, d + 360)))
    dl, dc, dH = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    l, cm, s = (l1 + l2) / 2, (c1 + c2) / 2, h1 + h2
    h = np.where(grey, s, np.where(abs(d) <= 180, s / 2, np.where(s < 360, (s + 360) / 2, (s - 360) / 2)))
    cos = lambda x: np.cos(np.radians(x))
    t = 1 - 0.17 * cos(h - 30) + 0.24 * cos(2 * h) + 0.32 * cos(3 * h + 6) - 0.20 * cos(4 * h - 63)
    theta = 30 * np.exp(-((h - 275) / 25) ** 2)
    rc = 2 * np.sqrt(cm ** 7 / (cm ** 7 + 25.0 ** 7))
    sl, sc, sh = 1 + 0.015 * (l - 50) ** 2 / np.sqrt(20 + (l - 50) ** 2), 1 + 0.045 * cm, 1 + 0.015 * cm * t
    rt = -np.sin(np.radians(2 * theta)) * rc
    return np.sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dH / sh) ** 2 + rt * dc / sc * dH / sh)


def picture(rng, h, w):
    y, x = np.mgrid[0:h, 0:w]
    p = np.stack([127 + 90 * np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9) + rng.uniform(0, 6)) for _ in range(3)], -1)
    p[h // 3:h // 2, w // 4:3 * w // 4] = rng.uniform(0, 255, 3)
    return np.clip(np.round(p + rng.normal(0, 6, p.shape)), 0, 255)


def resize(p, n, how):
    h, w, _ = p.shape
    return np.stack([np.asarray(Image.fromarray(p[..., c].astype(np.float32), "F").resize((w * n, h * n), how)) for c in range(3)], -1)


def case(rng, file, name, h, w, scale, spoil):
    original = picture(rng, h, w)
    small = np.round(blocks(original, scale))
    result = np.clip(np.round(spoil(resize(small, scale, Image.BICUBIC), original, rng)), 0, 255)
    again = np.round(blocks(result, scale))
    values = [psnr(result, original), ssim(result, original), psnr(blocks(result, scale), small),
              difference(lab(result), lab(original)).mean(), difference(lab(again), lab(small)).mean(), energy(result) / energy(original)]
    g = file.create_group(name)
    for key, p in [("original", original), ("small", small), ("result", result)]: g[key] = p.astype(np.uint8)
    for key, how in [("nearest", Image.NEAREST), ("bicubic", Image.BICUBIC), ("lanczos", Image.LANCZOS)]:
        g[key] = resize(small, scale, how)
    g["values"] = np.array(values)
    print(name, np.round(values, 4))


def fill(rng, f):
    f["ciede2000"] = np.array(PAIRS.split(), float).reshape(34, 7)
    case(rng, f, "tinted", 36, 52, 4, lambda x, o, r: x * [1.05, 0.98, 0.9] + 4)
    case(rng, f, "noisy", 48, 24, 8, lambda x, o, r: o + r.normal(0, 9, o.shape))
    case(rng, f, "small", 12, 14, 2, lambda x, o, r: x)


if __name__ == "__main__":
    make_file("quality.h5", "psnr, ssim, consistency, mean CIEDE2000, the same of what was reduced, edge energy; enlarged pictures", fill)
