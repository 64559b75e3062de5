#!/usr/bin/env python3
"""Random blocks of every GGUF type that we read, and what the `gguf` package makes of them.

The package is an independent implementation of ggml's formats. Writes gguf-blocks.safetensors:
for each type T, `T.raw` (the bytes) and `T.values` (their numbers as f32).

Needs: numpy, gguf, safetensors (PyPI)."""
import os

import numpy as np
from gguf import GGMLQuantizationType, GGML_QUANT_SIZES
from gguf.quants import dequantize
from safetensors.numpy import save_file

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Byte offsets of the f16 scales inside a block, so that they can be made finite.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
rng = np.random.default_rng(20261123)
tensors = {}
for name in TYPES:
    kind = GGMLQuantizationType[name]
    block, size = GGML_QUANT_SIZES[kind]
    count = 512 // block * 2 if block > 1 else 512
    if name in HALVES:
        raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in HALVES[name]:
            scales = (rng.standard_normal(count) * 0.05).astype(np.float16)
            raw[:, at:at + 2] = scales.view(np.uint8).reshape(count, 2)
    else:
        values = rng.standard_normal(count).astype(np.float32)
        if name == "F16":
            raw = values.astype(np.float16).view(np.uint8)
        elif name == "BF16":
            raw = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        else:
            raw = values.view(np.uint8)
    flat = raw.reshape(1, -1)
    if name == "F32":
        out = flat.view(np.float32)
    elif name == "F16":
        out = flat.view(np.float16).astype(np.float32)
    else:
        out = dequantize(flat, kind)
    tensors[f"{name}.raw"] = np.ascontiguousarray(flat.reshape(-1))
    tensors[f"{name}.values"] = np.ascontiguousarray(out.reshape(-1).astype(np.float32))
    print(name, tensors[f"{name}.raw"].size, "bytes", tensors[f"{name}.values"].size, "numbers")
save_file(tensors, os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf-blocks.safetensors"))
