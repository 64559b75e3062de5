#!/usr/bin/env python3
"""Turns the golden Hugging Face folders into GGUF files with the layout that llama.cpp's converter
gives them, so that both ways into a briquette can be compared.

    make_gguf.py FOLDER OUT.gguf [--type f32|f16|q8_0] [--legacy]

`--legacy` keeps DeepSeek's attn_kv_b in one piece, as files from before the split have it.
Needs: numpy, gguf, safetensors (PyPI)."""
import argparse
import json
import os

import numpy as np
from gguf import ExpertGatingFuncType, GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.numpy import load_file

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("folder")
ap.add_argument("out")
ap.add_argument("--type", default="f32", choices=["f32", "f16", "q8_0"])
ap.add_argument("--legacy", action="store_true")
args = ap.parse_args()

cfg = json.load(open(f"{args.folder}/config.json"))
hf = load_file(f"{args.folder}/model.safetensors")
arch = {"LlamaForCausalLM": "llama", "Qwen3MoeForCausalLM": "qwen3moe",
        "MixtralForCausalLM": "llama", "DeepseekV2ForCausalLM": "deepseek2", "DeepseekV3ForCausalLM": "deepseek2"}[cfg["architectures"][0]]
rope = cfg["rope_parameters"]
H, L = cfg["num_attention_heads"], cfg["num_hidden_layers"]
w = GGUFWriter(args.out, arch)
w.add_name(os.path.basename(os.path.abspath(args.folder)))
w.add_tokenizer_model("none"); w.add_vocab_size(cfg["vocab_size"])
w.add_context_length(cfg["max_position_embeddings"])
w.add_embedding_length(cfg["hidden_size"])
w.add_block_count(L)
w.add_feed_forward_length(cfg["intermediate_size"])
w.add_head_count(H)
w.add_layer_norm_rms_eps(cfg["rms_norm_eps"])
w.add_rope_freq_base(rope["rope_theta"])
if arch == "deepseek2":
    N, R, V, K = (cfg[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    w.add_rope_dimension_count(R)
    w.add_kv_lora_rank(K)
    w.add_q_lora_rank(cfg["q_lora_rank"] or 0)
    if args.legacy:
        w.add_head_count_kv(H); w.add_key_length(N + R); w.add_value_length(V)
    else:
        w.add_head_count_kv(1); w.add_key_length(K + R); w.add_value_length(K)
        w.add_key_length_mla(N + R); w.add_value_length_mla(V)
    w.add_leading_dense_block_count(cfg["first_k_dense_replace"])
    w.add_expert_count(cfg["n_routed_experts"]); w.add_expert_used_count(cfg["num_experts_per_tok"])
    w.add_expert_shared_count(cfg["n_shared_experts"]); w.add_expert_feed_forward_length(cfg["moe_intermediate_size"])
    w.add_expert_weights_scale(cfg["routed_scaling_factor"])
    is_v3 = cfg["model_type"] == "deepseek_v3"
    w.add_expert_weights_norm(bool(cfg["norm_topk_prob"]) and is_v3)
    w.add_expert_gating_func(ExpertGatingFuncType.SIGMOID if is_v3 else ExpertGatingFuncType.SOFTMAX)
    if cfg["n_group"] > 1:
        w.add_expert_group_count(cfg["n_group"]); w.add_expert_group_used_count(cfg["topk_group"])
    if rope["rope_type"] == "yarn":
        from gguf import RopeScalingType
        w.add_rope_scaling_type(RopeScalingType.YARN); w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        w.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
else:
    hd = cfg.get("head_dim") or cfg["hidden_size"] // H
    w.add_head_count_kv(cfg["num_key_value_heads"]); w.add_key_length(hd); w.add_value_length(hd)
    w.add_rope_dimension_count(hd)
    if "num_local_experts" in cfg:
        w.add_expert_count(cfg["num_local_experts"]); w.add_expert_used_count(cfg["num_experts_per_tok"])
    if arch == "qwen3moe":
        w.add_expert_feed_forward_length(cfg["moe_intermediate_size"])
    if cfg.get("sliding_window"):
        w.add_sliding_window(cfg["sliding_window"])

kind = {"f32": None, "f16": GGMLQuantizationType.F16, "q8_0": GGMLQuantizationType.Q8_0}[args.type]


def put(name, a):
    a = np.ascontiguousarray(a, dtype=np.float32)
    exact = a.ndim == 1 or "ffn_gate_inp" in name or kind is None or a.shape[-1] % 32
    if exact:
        w.add_tensor(name, a)
    elif kind == GGMLQuantizationType.F16:
        w.add_tensor(name, a.astype(np.float16))
    else:
        w.add_tensor(name, quantize(a, kind), raw_dtype=kind)


def permute(a, heads):
    """Half-split rows to adjacent pairs, as the converter does for `llama`."""
    return a.reshape(heads, 2, a.shape[0] // heads // 2, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


put("token_embd.weight", hf["model.embed_tokens.weight"])
put("output_norm.weight", hf["model.norm.weight"])
if "lm_head.weight" in hf:
    put("output.weight", hf["lm_head.weight"])
for l in range(L):
    p, b = f"model.layers.{l}.", f"blk.{l}."
    put(b + "attn_norm.weight", hf[p + "input_layernorm.weight"])
    put(b + "ffn_norm.weight", hf[p + "post_attention_layernorm.weight"])
    put(b + "attn_output.weight", hf[p + "self_attn.o_proj.weight"])
    if p + "self_attn.o_proj.bias" in hf:
        put(b + "attn_output.bias", hf[p + "self_attn.o_proj.bias"])
    if arch == "deepseek2":
        for src, dst in (("q_proj", "attn_q"), ("q_a_proj", "attn_q_a"), ("q_a_layernorm", "attn_q_a_norm"),
                         ("q_b_proj", "attn_q_b"), ("kv_a_proj_with_mqa", "attn_kv_a_mqa"),
                         ("kv_a_layernorm", "attn_kv_a_norm")):
            if p + f"self_attn.{src}.weight" in hf:
                put(b + dst + ".weight", hf[p + f"self_attn.{src}.weight"])
            if p + f"self_attn.{src}.bias" in hf:
                put(b + dst + ".bias", hf[p + f"self_attn.{src}.bias"])
        kv = hf[p + "self_attn.kv_b_proj.weight"]
        if args.legacy:
            put(b + "attn_kv_b.weight", kv)
        else:
            kv = kv.reshape(H, N + V, K)
            put(b + "attn_k_b.weight", kv[:, :N].transpose(0, 2, 1))
            put(b + "attn_v_b.weight", kv[:, N:])
    else:
        fix = permute if arch == "llama" else (lambda a, heads: a)
        put(b + "attn_q.weight", fix(hf[p + "self_attn.q_proj.weight"], H))
        put(b + "attn_k.weight", fix(hf[p + "self_attn.k_proj.weight"], cfg["num_key_value_heads"]))
        put(b + "attn_v.weight", hf[p + "self_attn.v_proj.weight"])
        for n in ("q", "k"):
            if p + f"self_attn.{n}_norm.weight" in hf:
                put(b + f"attn_{n}_norm.weight", hf[p + f"self_attn.{n}_norm.weight"])
    if p + "block_sparse_moe.gate.weight" in hf:
        put(b + "ffn_gate_inp.weight", hf[p + "block_sparse_moe.gate.weight"])
        for n, src in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
            experts = range(cfg["num_local_experts"])
            put(b + f"ffn_{n}_exps.weight",
                np.stack([hf[p + f"block_sparse_moe.experts.{e}.{src}.weight"] for e in experts]))
    elif p + "mlp.gate.weight" in hf:
        put(b + "ffn_gate_inp.weight", hf[p + "mlp.gate.weight"])
        if p + "mlp.gate.e_score_correction_bias" in hf:
            put(b + "exp_probs_b.bias", hf[p + "mlp.gate.e_score_correction_bias"])
        E = hf[p + "mlp.gate.weight"].shape[0]
        for n in ("gate", "up", "down"):
            put(b + f"ffn_{n}_exps.weight", np.stack([hf[p + f"mlp.experts.{e}.{n}_proj.weight"] for e in range(E)]))
            if p + f"mlp.shared_experts.{n}_proj.weight" in hf:
                put(b + f"ffn_{n}_shexp.weight", hf[p + f"mlp.shared_experts.{n}_proj.weight"])
            if p + f"mlp.shared_experts.{n}_proj.bias" in hf:
                put(b + f"ffn_{n}_shexp.bias", hf[p + f"mlp.shared_experts.{n}_proj.bias"])
    else:
        for n in ("gate", "up", "down"):
            put(b + f"ffn_{n}.weight", hf[p + f"mlp.{n}_proj.weight"])
            if p + f"mlp.{n}_proj.bias" in hf:
                put(b + f"ffn_{n}.bias", hf[p + f"mlp.{n}_proj.bias"])
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
print(args.out, os.path.getsize(args.out), "bytes")
