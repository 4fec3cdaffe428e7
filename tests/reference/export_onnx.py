"""GLIDE's base model in full size with random weights as an ONNX file, to time other runtimes with (tests/tools/onnxruntime.js):

    python3 tests/reference/export_onnx.py base.onnx

Needs PyTorch (1.13 was used), 1.5 GB of disk and 5 GB of memory. Inputs of a guided pair: x (2,3,64,64), t (2), tok (2,128), mask (2,128).
"""
import sys
import torch
import torch.nn.functional as F
from glide_torch import Glide

if not hasattr(F, "scaled_dot_product_attention"):  # before PyTorch 2
    F.scaled_dot_product_attention = lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v

CONFIG = dict(image_size=64, in_channels=3, channels=192, mult=(1, 2, 3, 4), blocks=3, attention=(32, 16, 8), head_channels=64,
              n_vocab=50257, text_ctx=128, text_width=512, text_layers=16, text_heads=8, dropout=0.1)

torch.manual_seed(0)
with torch.no_grad():
    model = Glide(CONFIG).eval()
    for p in model.parameters():
        if p.abs().max() == 0:
            p.normal_(0, 0.01)
    inputs = (torch.randn(2, 3, 64, 64), torch.tensor([500, 500]), torch.zeros(2, 128, dtype=torch.long),
              torch.ones(2, 128, dtype=torch.bool))
    torch.onnx.export(model, inputs, sys.argv[1], opset_version=14, input_names=["x", "t", "tok", "mask"], output_names=["y"])
