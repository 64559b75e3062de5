"""Reads a checkpoint folder with numpy only, so that checks do not depend on the libraries that wrote it.

Every tensor comes back as float64. Formats: F32, F16, BF16, F64, I64 and F8_E4M3 with the block scales DeepSeek
publishes (`X.weight_scale_inv`, one factor for each block of `quantization_config.weight_block_size`).
"""

import json
import struct
from pathlib import Path

import numpy as np


SAME_WEIGHTS_AS = {"tiny-v2-fused": "tiny-v2"}


def reference_path(folder):
    """Where a folder's reference is: its own, or that of the folder holding the same weights in another layout."""
    folder = Path(folder)
    return folder.parent / SAME_WEIGHTS_AS.get(folder.name, folder.name) / "reference.safetensors"


def read_config(folder, name="config.json"):
    """The configuration of a folder with RoPE settings always in the form transformers 5 writes."""
    config = json.loads((Path(folder) / name).read_text())
    rope = dict(config.pop("rope_parameters", None) or config.pop("rope_scaling", None) or {})
    default_theta = 1e6 if config["model_type"] == "mixtral" else 1e4
    rope.setdefault("rope_theta", config.get("rope_theta", default_theta))
    rope.setdefault("rope_type", rope.pop("type", "default"))
    config["rope"] = rope
    return config


def read_tensors(folder):
    """All tensors of a folder, FP8 weights already multiplied by their scales: name -> float64 array."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    tensors = {}
    for name in names:
        tensors.update(read_safetensors(folder / name))
    quantization = json.loads((folder / "config.json").read_text()).get("quantization_config")
    if quantization:
        apply_scales(tensors, *quantization["weight_block_size"])
    return tensors


def read_safetensors(path):
    """name -> array, widened to float64 (integers stay integers)."""
    data = Path(path).read_bytes()
    (header_length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_length])
    header.pop("__metadata__", None)
    payload = data[8 + header_length :]
    return {
        name: DECODE[entry["dtype"]](payload[slice(*entry["data_offsets"])]).reshape(entry["shape"])
        for name, entry in header.items()
    }


def apply_scales(tensors, block_rows, block_columns):
    """Replaces each FP8 weight by weight * scale of its block; blocks at the edge are short."""
    for scale_name in [name for name in tensors if name.endswith(".weight_scale_inv")]:
        scales = tensors.pop(scale_name)
        weight_name = scale_name.removesuffix("_scale_inv")
        rows, columns = tensors[weight_name].shape
        grid = scales.repeat(block_rows, axis=0).repeat(block_columns, axis=1)
        tensors[weight_name] = tensors[weight_name] * grid[:rows, :columns]


def _bf16(data):
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).astype(np.float64)


def _f8_e4m3(data):
    """1 sign, 4 exponent (bias 7) and 3 mantissa bits; no infinity, all ones is not a number."""
    bits = np.frombuffer(data, np.uint8).astype(np.int64)
    exponent, mantissa = (bits >> 3) & 15, bits & 7
    subnormal = mantissa * 2.0**-9
    normal = (8 + mantissa) * 2.0 ** (exponent - 10.0)
    value = np.where(exponent == 0, subnormal, normal)
    value = np.where(bits & 127 == 127, np.nan, value)
    return np.where(bits & 128, -value, value)


DECODE = {
    "F64": lambda data: np.frombuffer(data, "<f8"),
    "F32": lambda data: np.frombuffer(data, "<f4").astype(np.float64),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float64),
    "BF16": _bf16,
    "F8_E4M3": _f8_e4m3,
    "I64": lambda data: np.frombuffer(data, "<i8"),
}
