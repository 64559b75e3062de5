#!/usr/bin/env python3
"""Random small configurations of the supported classes: made with transformers, packed at f32, logits compared.

    configurations.py [--seed N] [--count N] [--briquette PROGRAM] [--keep FOLDER]
    configurations.py --write-samples                          configurations/ anew, for the ordinary tests

README.md has the packages that it needs. One line for each seed whose logits differ by more than 1e-3, or that is
refused; where a routing decision is too close for float32 (by the float64 decoder of tests/golden), it is counted apart.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

import program

HERE = Path(__file__).resolve().parent
SAMPLES = HERE / "configurations"
sys.path.insert(0, str(HERE.parent / "golden"))
from checkpoint import read_config, read_tensors  # noqa: E402
from decoder import Decoder  # noqa: E402

TOLERANCE = 1e-3
UNDECIDED = 2e-6
TOKENS = 40
# One seed of each: small files, all classes.
SAMPLE_SEEDS = range(8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1000, help="the first seed (default 1000)")
    parser.add_argument("--count", type=int, default=40, help="how many seeds (default 40)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the last checkpoint there")
    parser.add_argument("--write-samples", action="store_true")
    program.add_option(parser)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    if arguments.write_samples:
        write_samples()
        return
    briquette = program.Briquette(arguments.briquette)
    failures = undecided = 0
    worst = 0.0
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            model_type, settings = make(seed, folder)
            ids, expected = reference(seed, folder)
            if arguments.keep:
                shutil.copytree(folder, arguments.keep, dirs_exist_ok=True)
            try:
                difference = float(np.abs(logits(briquette, folder, ids, Path(scratch)) - expected).max())
                problem = f"largest difference {difference:.2e}" if not difference < TOLERANCE else None
            except RuntimeError as error:
                difference, problem = 0.0, str(error)
            if problem and is_undecided(folder, ids):
                undecided += 1
            elif problem:
                failures += 1
                print(f"seed {seed}, {model_type}: {problem}\n    {json.dumps(settings)}", flush=True)
            else:
                worst = max(worst, difference)
    agree = arguments.count - failures - undecided
    print(f"{agree} of {arguments.count} agree (largest difference {worst:.1e}), {undecided} undecided")
    program.finish(failures)


def make(seed, folder):
    """Writes the checkpoint of a seed; returns its model type and the settings that are not the class's own."""
    draw = random.Random(seed)
    model_type = list(CLASSES)[seed % len(CLASSES)]
    settings = CLASSES[model_type](draw)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if not (settings["tie_word_embeddings"] and name == "lm_head.weight"):
            tensor.copy_(weights(name, tensor, generator))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return model_type, settings


def weights(name, tensor, generator):
    """Numbers large enough that every part of the model shows in its logits."""
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.15 * noise
    if name.endswith("bias"):
        return 0.15 * noise
    return noise * (0.3 if "embed_tokens" in name else tensor.shape[-1] ** -0.5)


def reference(seed, folder):
    """Token ids, and transformers' logits of them."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    vocabulary = model.config.vocab_size
    ids = torch.randint(0, vocabulary, (TOKENS,), generator=torch.Generator().manual_seed(seed))
    return ids, model(ids[None], use_cache=False).logits[0].contiguous().numpy()


def logits(briquette, folder, ids, scratch):
    briq, wanted, out = scratch / "model.briq", scratch / "ids.json", scratch / "logits.safetensors"
    wanted.write_text(json.dumps(ids.tolist()))
    briquette("pack", folder, "-o", briq, "--weights", "f32", "--kv", "f32", "--context", len(ids))
    briquette("logits", briq, "--ids", wanted, "--out", out)
    return load_numpy(out)["logits"]


def is_undecided(folder, ids):
    """Whether two experts, or groups of them, were too close for float32 to choose between."""
    config = read_config(folder)
    if not any(key in config for key in ("n_routed_experts", "num_local_experts", "num_experts")):
        return False
    decoder = Decoder(config, read_tensors(folder))
    decoder.logits(ids.numpy())
    return decoder.routing_margin < UNDECIDED


def write_samples():
    shutil.rmtree(SAMPLES, ignore_errors=True)
    for seed in SAMPLE_SEEDS:
        model_type, _ = make(seed, SAMPLES / f"{seed}")
        folder = (SAMPLES / f"{seed}").rename(SAMPLES / model_type)
        ids, expected = reference(seed, folder)
        save_file({"ids": ids, "logits": torch.from_numpy(expected)}, folder / "reference.safetensors")
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{model_type}: {size / 1000:.0f} kB")


# Configurations -------------------------------------------------------------------------------------------------------


def skeleton(draw):
    """What all classes have."""
    return dict(
        vocab_size=draw.randrange(33, 64),
        num_hidden_layers=draw.choice([1, 2, 2, 3]),
        rms_norm_eps=draw.choice([1e-5, 1e-6, 1e-3]),
        tie_word_embeddings=draw.random() < 0.3,
        max_position_embeddings=draw.choice([64, 128, 512]),
        hidden_act="silu",
        bos_token_id=0,
        eos_token_id=1,
    )


def grouped(draw):
    """Grouped-query attention with a width of its own or the usual one."""
    heads = draw.choice([1, 2, 3, 4, 6])
    width = 2 * draw.randrange(1, 7)
    kv_heads = draw.choice([count for count in range(1, heads + 1) if heads % count == 0])
    own_width = draw.random() < 0.5
    # The classes want a multiple of the heads even where it means nothing.
    hidden = heads * (draw.randrange(3, 10) if own_width else width)
    more = dict(head_dim=width) if own_width else {}
    return skeleton(draw) | dict(
        hidden_size=hidden, intermediate_size=draw.randrange(9, 40), num_attention_heads=heads,
        num_key_value_heads=kv_heads, **more,
    )


def rope(draw, kinds=("default", "linear", "yarn", "llama3")):
    kind = draw.choice(kinds)
    settings = dict(rope_type=kind, rope_theta=draw.choice([1e4, 5e5, 1e6]))
    if kind != "default":
        settings["factor"] = draw.choice([2.0, 4.0, 8.0])
    if kind == "yarn":
        settings["original_max_position_embeddings"] = draw.choice([16, 32, 64])
        if draw.random() < 0.5:
            settings |= dict(beta_fast=draw.choice([8.0, 32.0]), beta_slow=draw.choice([1.0, 2.0]))
        if draw.random() < 0.3:
            settings["truncate"] = False
        if draw.random() < 0.3:
            settings["attention_factor"] = draw.choice([0.9, 1.2])
    if kind == "llama3":
        settings |= dict(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    return settings


def llama(draw):
    return grouped(draw) | dict(
        attention_bias=draw.random() < 0.3, mlp_bias=draw.random() < 0.3, rope_parameters=rope(draw)
    )


def mistral(draw):
    return grouped(draw) | dict(sliding_window=draw.choice([None, 8, 24]), rope_parameters=rope(draw))


def mixtral(draw):
    experts = draw.randrange(2, 7)
    settings = grouped(draw)
    # With YaRN the class needs to be told.
    settings.setdefault("head_dim", settings["hidden_size"] // settings["num_attention_heads"])
    return settings | dict(
        num_local_experts=experts, num_experts_per_tok=draw.randrange(1, experts + 1),
        sliding_window=draw.choice([None, 12]), rope_parameters=rope(draw),
    )


def window(draw, layers):
    """Qwen's way to let some layers slide."""
    if draw.random() < 0.5:
        return {}
    return dict(use_sliding_window=True, sliding_window=draw.choice([8, 20]), max_window_layers=draw.randrange(layers + 1))


def qwen2(draw):
    settings = grouped(draw)
    # The class has no width of its own for heads.
    if "head_dim" in settings:
        settings["hidden_size"] = settings.pop("head_dim") * settings["num_attention_heads"]
    return settings | window(draw, settings["num_hidden_layers"]) | dict(rope_parameters=rope(draw))


def qwen3(draw):
    settings = grouped(draw)
    settings.setdefault("head_dim", settings["hidden_size"] // settings["num_attention_heads"])
    more = dict(attention_bias=draw.random() < 0.3, rope_parameters=rope(draw))
    return settings | window(draw, settings["num_hidden_layers"]) | more


def qwen3_moe(draw):
    experts = draw.randrange(2, 9)
    settings = grouped(draw)
    settings.setdefault("head_dim", settings["hidden_size"] // settings["num_attention_heads"])
    layers = settings["num_hidden_layers"]
    return settings | dict(
        num_experts=experts, num_experts_per_tok=draw.randrange(1, experts + 1),
        moe_intermediate_size=draw.randrange(5, 14), norm_topk_prob=draw.random() < 0.5,
        decoder_sparse_step=draw.choice([1, 1, 2]),
        mlp_only_layers=[layer for layer in range(layers) if draw.random() < 0.2], rope_parameters=rope(draw),
    )


def latent(draw):
    """Multi-head latent attention, and the experts of DeepSeek."""
    heads = draw.choice([1, 2, 3, 4])
    groups = draw.choice([1, 2, 3])
    per_group = draw.randrange(2, 4)
    top_groups = draw.randrange(1, groups + 1)
    settings = skeleton(draw)
    return settings | dict(
        hidden_size=heads * draw.randrange(5, 9), intermediate_size=draw.randrange(9, 40), num_attention_heads=heads,
        num_key_value_heads=heads, q_lora_rank=draw.choice([None, draw.randrange(5, 24)]),
        kv_lora_rank=draw.randrange(4, 24), qk_nope_head_dim=draw.randrange(2, 14),
        qk_rope_head_dim=2 * draw.randrange(1, 7), v_head_dim=draw.randrange(2, 14),
        n_routed_experts=groups * per_group, n_group=groups, topk_group=top_groups,
        num_experts_per_tok=draw.randrange(1, top_groups * per_group + 1), n_shared_experts=draw.choice([1, 2]),
        moe_intermediate_size=draw.randrange(4, 16), routed_scaling_factor=draw.choice([1.0, 2.5]),
        first_k_dense_replace=draw.randrange(settings["num_hidden_layers"] + 1), attention_bias=draw.random() < 0.3,
    )


def latent_rope(draw):
    settings = rope(draw, ("default", "yarn", "yarn"))
    settings.pop("attention_factor", None)
    if settings["rope_type"] == "yarn" and draw.random() < 0.7:
        settings |= dict(mscale=draw.choice([0.707, 1.0]), mscale_all_dim=draw.choice([0.707, 1.0]))
    return settings


def deepseek_v2(draw):
    method = draw.choice(["greedy", "group_limited_greedy"])
    settings = latent(draw)
    # transformers turns pairs as complex numbers, which must lie at even places.
    for key in ("kv_lora_rank", "qk_nope_head_dim"):
        settings[key] += settings[key] % 2
    return settings | dict(
        topk_method=method, norm_topk_prob=False, mlp_bias=draw.random() < 0.3, rope_parameters=latent_rope(draw)
    )


def deepseek_v3(draw):
    return latent(draw) | dict(
        norm_topk_prob=draw.random() < 0.7, rope_interleave=draw.random() < 0.8, rope_parameters=latent_rope(draw)
    )


CLASSES = dict(
    llama=llama, mistral=mistral, mixtral=mixtral, qwen2=qwen2, qwen3=qwen3, qwen3_moe=qwen3_moe,
    deepseek_v2=deepseek_v2, deepseek_v3=deepseek_v3,
)

if __name__ == "__main__":
    main()
