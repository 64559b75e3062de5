"""Makes the small golden checkpoints with Hugging Face transformers, and recomputes references.

    python3 tests/golden/make_golden.py make [NAME ...]        writes tests/golden/NAME (see variants.py)
    python3 tests/golden/make_golden.py reference FOLDER ...   largest difference to the folder's reference

Needs torch, numpy, safetensors and transformers (README.md has the versions used). A reference is always computed from
the files of the folder, loaded by `from_pretrained` with every weight widened to float32, with eager attention on the
CPU. `make` tries seeds until every routing decision and every greedy choice, in the prompts and in their continuations,
is clear enough that float32 noise cannot change it, and checks that config.published.json gives the same logits.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from checkpoint import read_config, read_tensors, reference_path
from decoder import Decoder
from variants import VARIANTS

HERE = Path(__file__).parent
PROMPT_LENGTHS = (7, 40)
GREEDY_TOKENS = 32
ROUTING_MARGIN, GREEDY_MARGIN = 1e-4, 3e-3
FP8_BLOCK = 128
FP8_MAX = 448.0
FP8_PROJECTIONS = ("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj") + (
    "gate_proj", "up_proj", "down_proj",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["make", "reference"])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    if arguments.action == "make":
        for name in arguments.names or VARIANTS:
            make(name, VARIANTS[name])
    else:
        for folder in arguments.names:
            print(f"{folder}: max |dlogit| {reference_difference(Path(folder)):.1e}")


# Making a checkpoint


def make(name, variant):
    folder = HERE / name
    for seed in range(1, 2000):
        shutil.rmtree(folder, ignore_errors=True)
        generator = torch.Generator().manual_seed(seed)
        save_checkpoint(folder, variant, generator)
        prompts = [torch.randint(2, variant.config["vocab_size"], (n,), generator=generator) for n in PROMPT_LENGTHS]
        reference = compute_reference(folder, prompts)
        margins = closest_decisions(folder, reference)
        if margins[0] >= ROUTING_MARGIN and margins[1] >= GREEDY_MARGIN:
            break
    else:
        sys.exit(f"{name}: no seed keeps the decisions apart")
    save_file(reference, folder / "reference.safetensors")
    published_difference = differs_with_published_config(folder, reference)
    deviation = np.mean([reference[f"logits_{i}"].std() for i in range(len(PROMPT_LENGTHS))])
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"{name}: seed {seed}, logit std {deviation:.2f}, routing margin {margins[0]:.1e}, greedy margin "
        f"{margins[1]:.1e}, published config differs by {published_difference:.1e}, {size / 1000:.0f} kB"
    )


def save_checkpoint(folder, variant, generator):
    config = AutoConfig.for_model(variant.model, **variant.config)
    model = AutoModelForCausalLM.from_config(config)
    draw_weights(model, variant.scale, generator)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tensors = load_file(folder / "model.safetensors")
    if variant.mtp:
        tensors |= mtp_tensors(tensors, config.num_hidden_layers, config.hidden_size, generator)
    storage = getattr(torch, variant.storage)
    written = json.loads((folder / "config.json").read_text())
    written["dtype"] = variant.storage
    if variant.fp8:
        written["quantization_config"] = {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [FP8_BLOCK, FP8_BLOCK],
        }
        tensors = dict(pair for name, tensor in tensors.items() for pair in to_fp8(name, tensor))
    tensors = {name: tensor if keeps_type(name, tensor) else tensor.to(storage) for name, tensor in tensors.items()}
    (folder / "model.safetensors").unlink()
    write_shards(folder, tensors, variant.shards)
    write_json(folder / "config.json", written)
    write_json(folder / "config.published.json", published_config(written))


def draw_weights(model, scale, generator):
    """Weights large enough that every part of the model matters: logits come out with a deviation of about 1."""
    state = model.state_dict()
    tied = model.config.tie_word_embeddings
    for name in sorted(state):
        tensor = state[name]
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("norm.weight"):
            noise = 1 + 0.15 * noise
        elif name.endswith("e_score_correction_bias"):
            noise *= 0.1
        elif name.endswith("bias"):
            noise *= 0.2
        elif "embed_tokens" in name:
            noise *= 0.2
        else:
            noise *= tensor.shape[-1] ** -0.5
        for part, factor in scale.items():
            noise *= factor if part in name else 1
        tensor.copy_(noise)


def mtp_tensors(tensors, layer, hidden, generator):
    """The extra layer of published V3 files: a whole block under the next layer number, and what joins it on."""
    block = {
        name.replace(f"model.layers.{layer - 1}.", f"model.layers.{layer}."): torch.randn(t.shape, generator=generator)
        for name, t in tensors.items()
        if name.startswith(f"model.layers.{layer - 1}.")
    }
    prefix = f"model.layers.{layer}."
    block[prefix + "embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
    block[prefix + "shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    block[prefix + "eh_proj.weight"] = torch.randn((hidden, 2 * hidden), generator=generator)
    for norm in ("enorm", "hnorm", "shared_head.norm"):
        block[f"{prefix}{norm}.weight"] = torch.ones(hidden)
    return block


def keeps_type(name, tensor):
    return tensor.dtype == torch.float8_e4m3fn or name.endswith(("_scale_inv", "e_score_correction_bias"))


def to_fp8(name, tensor):
    """(name, tensor) pairs to store: an FP8 weight with one scale for each block, or the tensor as it is."""
    if not name.endswith(tuple(f".{projection}.weight" for projection in FP8_PROJECTIONS)):
        return [(name, tensor)]
    rows, columns = tensor.shape
    grid = (-(-rows // FP8_BLOCK), -(-columns // FP8_BLOCK))
    scales = torch.stack([
        tensor[r * FP8_BLOCK : (r + 1) * FP8_BLOCK, c * FP8_BLOCK : (c + 1) * FP8_BLOCK].abs().max() / FP8_MAX
        for r in range(grid[0])
        for c in range(grid[1])
    ]).reshape(grid)
    return [(name, (tensor / spread(scales, rows, columns)).to(torch.float8_e4m3fn)), (name + "_scale_inv", scales)]


def spread(scales, rows, columns):
    """Each block's scale at each of its weights."""
    return scales.repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)[:rows, :columns]


def write_shards(folder, tensors, shards):
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    # Dealt out like cards, so that the gate and the up projection of one expert are in different files.
    weight_map = {name: files[i % shards] for i, name in enumerate(names)}
    for file in files:
        part = {name: tensors[name] for name in names if weight_map[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
    )


def published_config(config):
    """The same configuration with the keys checkpoints were published with before transformers 5."""
    published = dict(config)
    published["torch_dtype"] = published.pop("dtype")
    rope = dict(published.pop("rope_parameters"))
    published["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    # DeepSeek's files say "type", Llama's and Qwen's later ones "rope_type".
    key = "type" if config["model_type"].startswith("deepseek") else "rope_type"
    published["rope_scaling"] = None if kind == "default" else rope | {key: kind}
    published.pop("layer_types", None)
    if config["model_type"] == "qwen3_moe":
        published["num_experts"] = published.pop("num_local_experts")
    if config["model_type"].startswith("deepseek"):
        published.pop("head_dim", None)
        published.pop("qk_head_dim", None)
        published["moe_layer_freq"] = 1
        published["ep_size"] = 1
        published["scoring_func"] = "softmax" if config["model_type"] == "deepseek_v2" else "sigmoid"
        published.setdefault("topk_method", "noaux_tc")
    return dict(sorted(published.items()))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


# References


def compute_reference(folder, prompts):
    model = load_model(folder)
    reference = {}
    for i, ids in enumerate(prompts):
        reference[f"ids_{i}"] = ids
        reference[f"logits_{i}"] = model(ids[None], use_cache=False).logits[0].contiguous()
        tokens, margins = ids, []
        for _ in range(GREEDY_TOKENS):
            best = model(tokens[None], use_cache=False).logits[0, -1].topk(2)
            margins.append(best.values[0] - best.values[1])
            tokens = torch.cat([tokens, best.indices[:1]])
        reference[f"greedy_{i}"] = tokens[len(ids) :].clone()
        reference[f"greedy_margin_{i}"] = torch.stack(margins)
    return reference


def load_model(folder, config_name="config.json"):
    """The folder's model in float32; FP8 weights are multiplied by their scales first, and not rounded afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for file in folder.glob("model*"):
            shutil.copy(file, scratch)
        config = json.loads((folder / config_name).read_text())
        if config.pop("quantization_config", None):
            save_file(dequantised(load_file(folder / "model.safetensors")), scratch / "model.safetensors", {"format": "pt"})
        write_json(scratch / "config.json", config)
        model = AutoModelForCausalLM.from_pretrained(
            scratch, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
        )
    return model.eval()


def dequantised(tensors):
    scales = {name.removesuffix("_scale_inv"): t for name, t in tensors.items() if name.endswith("_scale_inv")}
    return {
        name: t.float() * spread(scales[name], *t.shape) if name in scales else t.float()
        for name, t in tensors.items()
        if not name.endswith("_scale_inv")
    }


def closest_decisions(folder, reference):
    """The closest routing decision (by the float64 implementation) and the closest greedy choice."""
    decoder = Decoder(read_config(folder), read_tensors(folder))
    for i in range(len(PROMPT_LENGTHS)):
        decoder.logits(torch.cat([reference[f"ids_{i}"], reference[f"greedy_{i}"]]).numpy())
    greedy = min(float(reference[f"greedy_margin_{i}"].min()) for i in range(len(PROMPT_LENGTHS)))
    return decoder.routing_margin, greedy


def differs_with_published_config(folder, reference):
    logits = load_model(folder, "config.published.json")(reference["ids_1"][None], use_cache=False).logits[0]
    return float((logits - reference["logits_1"]).abs().max())


def reference_difference(folder):
    """Largest |logit| difference of a fresh computation to the committed reference; greedy tokens have to be equal."""
    committed = load_file(reference_path(folder))
    prompts = [committed[f"ids_{i}"] for i in range(sum(name.startswith("ids_") for name in committed))]
    fresh = compute_reference(folder, prompts)
    for name in fresh:
        if name.startswith("greedy_") and "margin" not in name and not torch.equal(fresh[name], committed[name]):
            sys.exit(f"{folder}: {name} differs")
    return max(
        float((fresh[name] - committed[name]).abs().max()) for name in fresh if name.startswith("logits_")
    )


if __name__ == "__main__":
    main()
