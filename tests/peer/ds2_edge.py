"""Makes ds2-edge: a DeepSeek-V2 of edge size with random weights, as a GGUF file in f16.

    python ds2_edge.py --vocabulary SmolLM2.gguf --out ds2-edge-f16.gguf

For measuring speed: 12 layers (the first dense), hidden size 1024, latent attention with rank 256, 32 experts of which
4 are chosen, one shared. Its text is noise. Tokens are the first 32,000 of the other file's, whose merges are ordered
by rank, so that the beginning of the vocabulary is a vocabulary too.
"""

import argparse

import numpy as np
from gguf import GGUFReader, GGUFWriter

VOCAB, HIDDEN, LAYERS, HEADS = 32000, 1024, 12, 16
RANK, ROPE, NOPE, VALUE = 256, 32, 64, 64
EXPERTS, CHOSEN, EXPERT_WIDTH, DENSE_WIDTH = 32, 4, 384, 2048


class Weights:
    """Random matrices that keep the size of what passes through them."""

    def __init__(self, writer):
        self.writer = writer
        self.random = np.random.default_rng(1)

    def matrix(self, name, *shape, gain=1.0):
        numbers = self.random.standard_normal(shape, dtype=np.float32)
        numbers *= gain / np.sqrt(shape[-1])
        self.writer.add_tensor(name, numbers.astype(np.float16))

    def exact(self, name, *shape, gain=1.0):
        numbers = self.random.standard_normal(shape, dtype=np.float32)
        self.writer.add_tensor(name, numbers * np.float32(gain / np.sqrt(shape[-1])))

    def norm(self, name, size):
        numbers = 1 + 0.1 * self.random.standard_normal(size, dtype=np.float32)
        self.writer.add_tensor(name, numbers.astype(np.float32))


def add_settings(writer):
    writer.add_name("ds2-edge")
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_vocab_size(VOCAB)
    writer.add_feed_forward_length(DENSE_WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(ROPE)
    # In absorbed form all heads share one key and value: the latent.
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(0)
    writer.add_kv_lora_rank(RANK)
    writer.add_key_length(RANK + ROPE)
    writer.add_value_length(RANK)
    writer.add_key_length_mla(NOPE + ROPE)
    writer.add_value_length_mla(VALUE)
    writer.add_leading_dense_block_count(1)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(CHOSEN)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(EXPERT_WIDTH)
    writer.add_expert_weights_scale(1.0)
    writer.add_file_type(1)


def add_tokenizer(writer, path):
    reader = GGUFReader(path)

    def field(name):
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    tokens = field("tokens")[:VOCAB]
    known = set(tokens)
    merges = [merge for merge in field("merges") if merge.replace(" ", "", 1) in known]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(field("pre"))
    writer.add_token_list(tokens)
    writer.add_token_types(field("token_type")[:VOCAB])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def add_layer(weights, layer):
    name = f"blk.{layer}."
    weights.norm(name + "attn_norm.weight", HIDDEN)
    weights.matrix(name + "attn_q.weight", HEADS * (NOPE + ROPE), HIDDEN)
    weights.matrix(name + "attn_kv_a_mqa.weight", RANK + ROPE, HIDDEN)
    weights.norm(name + "attn_kv_a_norm.weight", RANK)
    weights.matrix(name + "attn_k_b.weight", HEADS, RANK, NOPE)
    weights.matrix(name + "attn_v_b.weight", HEADS, VALUE, RANK)
    weights.matrix(name + "attn_output.weight", HIDDEN, HEADS * VALUE)
    weights.norm(name + "ffn_norm.weight", HIDDEN)
    if layer == 0:
        weights.matrix(name + "ffn_gate.weight", DENSE_WIDTH, HIDDEN)
        weights.matrix(name + "ffn_up.weight", DENSE_WIDTH, HIDDEN)
        weights.matrix(name + "ffn_down.weight", HIDDEN, DENSE_WIDTH)
        return
    weights.exact(name + "ffn_gate_inp.weight", EXPERTS, HIDDEN, gain=2.0)
    for kind, rows, columns in [
        ("gate", EXPERT_WIDTH, HIDDEN),
        ("up", EXPERT_WIDTH, HIDDEN),
        ("down", HIDDEN, EXPERT_WIDTH),
    ]:
        weights.matrix(name + f"ffn_{kind}_exps.weight", EXPERTS, rows, columns)
        weights.matrix(name + f"ffn_{kind}_shexp.weight", rows, columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", required=True, help="a GGUF file with at least 32,000 tokens")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    writer = GGUFWriter(options.out, "deepseek2")
    add_settings(writer)
    add_tokenizer(writer, options.vocabulary)
    weights = Weights(writer)
    # Tokens stand apart by whole units, not by one over the width.
    weights.matrix("token_embd.weight", VOCAB, HIDDEN, gain=np.sqrt(HIDDEN))
    for layer in range(LAYERS):
        add_layer(weights, layer)
    weights.norm("output_norm.weight", HIDDEN)
    weights.matrix("output.weight", VOCAB, HIDDEN, gain=3.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
