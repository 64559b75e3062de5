"""The decoder families in float64 numpy, written from their equations and not from any library's classes.

One prompt at a time, no cache: attention sees the whole sequence at once. `Decoder.logits` also records how close each
routing decision was, because a reference is only useful where float32 noise cannot change which expert is chosen.
"""

import numpy as np

LORA_NORM_EPS = 1e-6  # q_a_layernorm and kv_a_layernorm ignore rms_norm_eps


class Decoder:
    def __init__(self, config, tensors):
        self.config = config
        self.tensors = tensors
        self.family = config["model_type"]
        self.is_mla = self.family.startswith("deepseek")
        self.routing_margin = np.inf

    def logits(self, ids):
        """[tokens, vocab] for a whole prompt, positions from 0."""
        return self.head(self.hidden(ids))

    def hidden(self, ids):
        """[tokens, hidden]: what the layers make of a prompt, after the final norm."""
        hidden = self.embed(ids)
        for layer in range(self.config["num_hidden_layers"]):
            hidden = self.layer(layer, hidden)
        return self.norm("model.norm", hidden, self.config["rms_norm_eps"])

    def mtp_logits(self, ids):
        """[tokens - 1, vocab]: row i predicts token i + 2 from the hidden state at i and token i + 1.

        DeepSeek-V3 technical report (arXiv 2412.19437), equations 21 to 23, for one module. Published weights have
        the embedding's columns first in the projection, and the hidden state comes from behind the final norm.
        """
        eps = self.config["rms_norm_eps"]
        number = self.config["num_hidden_layers"]
        prefix = f"model.layers.{number}."
        states = self.norm(prefix + "hnorm", self.hidden(ids)[:-1], eps)
        tokens = self.norm(prefix + "enorm", self.embed(ids)[1:], eps)
        joined = self.linear(prefix + "eh_proj", np.concatenate([tokens, states], axis=-1))
        return self.head(self.norm(prefix + "shared_head.norm", self.layer(number, joined), eps))

    def embed(self, ids):
        return self.tensors["model.embed_tokens.weight"][np.asarray(ids)]

    def layer(self, layer, hidden):
        eps = self.config["rms_norm_eps"]
        attention = self.latent_attention if self.is_mla else self.grouped_attention
        prefix = f"model.layers.{layer}."
        hidden = hidden + attention(layer, self.norm(prefix + "input_layernorm", hidden, eps))
        return hidden + self.feed_forward(layer, self.norm(prefix + "post_attention_layernorm", hidden, eps))

    def head(self, normed):
        head = "model.embed_tokens.weight" if self.config.get("tie_word_embeddings") else "lm_head.weight"
        return normed @ self.tensors[head].T

    def linear(self, name, x):
        y = x @ self.tensors[name + ".weight"].T
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, name, x, eps):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * self.tensors[name + ".weight"]

    # Attention

    def latent_attention(self, layer, x):
        """MLA in its expanded form: keys and values are rebuilt from the latent row for every head."""
        c, name = self.config, f"model.layers.{layer}.self_attn."
        tokens, heads = len(x), c["num_attention_heads"]
        nope, rope, value, latent_width = (
            c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"],
        )
        if c.get("q_lora_rank") is None:
            query = self.linear(name + "q_proj", x)
        else:
            query = self.norm(name + "q_a_layernorm", self.linear(name + "q_a_proj", x), LORA_NORM_EPS)
            query = self.linear(name + "q_b_proj", query)
        query = query.reshape(tokens, heads, nope + rope)
        compressed = self.linear(name + "kv_a_proj_with_mqa", x)
        latent = self.norm(name + "kv_a_layernorm", compressed[:, :latent_width], LORA_NORM_EPS)
        expanded = self.linear(name + "kv_b_proj", latent).reshape(tokens, heads, nope + value)

        adjacent = c.get("rope_interleave", True) is not False
        frequencies, factor = rope_frequencies(c["rope"], rope, c.get("max_position_embeddings"))
        query_rope = rotate(query[:, :, nope:], frequencies, factor, adjacent)
        key_rope = rotate(compressed[:, None, latent_width:], frequencies, factor, adjacent)
        scores = np.einsum("thd,shd->hts", query[:, :, :nope], expanded[:, :, :nope])
        scores += np.einsum("thd,sd->hts", query_rope, key_rope[:, 0])
        weights = causal_softmax(scores * (nope + rope) ** -0.5 * yarn_score_factor(c["rope"]), None)
        mixed = np.einsum("hts,shd->thd", weights, expanded[:, :, nope:])
        return self.linear(name + "o_proj", mixed.reshape(tokens, heads * value))

    def grouped_attention(self, layer, x):
        """Attention with fewer key/value heads than query heads."""
        c, name = self.config, f"model.layers.{layer}.self_attn."
        tokens, heads, kv_heads = len(x), c["num_attention_heads"], c["num_key_value_heads"]
        width = c.get("head_dim") or c["hidden_size"] // heads
        query = self.linear(name + "q_proj", x).reshape(tokens, heads, width)
        key = self.linear(name + "k_proj", x).reshape(tokens, kv_heads, width)
        value = self.linear(name + "v_proj", x).reshape(tokens, kv_heads, width)
        if self.family.startswith("qwen3"):
            query = self.norm(name + "q_norm", query, c["rms_norm_eps"])
            key = self.norm(name + "k_norm", key, c["rms_norm_eps"])
        frequencies, factor = rope_frequencies(c["rope"], width, c.get("max_position_embeddings"))
        query = rotate(query, frequencies, factor, adjacent=False)
        key = rotate(key, frequencies, factor, adjacent=False)
        key, value = (np.repeat(part, heads // kv_heads, axis=1) for part in (key, value))
        scores = np.einsum("thd,shd->hts", query, key) * width**-0.5
        mixed = np.einsum("hts,shd->thd", causal_softmax(scores, self.window(layer)), value)
        return self.linear(name + "o_proj", mixed.reshape(tokens, heads * width))

    def window(self, layer):
        """How many tokens, itself included, a token of this layer sees; None: all."""
        c = self.config
        if self.family == "mixtral":
            return c.get("sliding_window")
        if not c.get("use_sliding_window"):
            return None
        if self.family == "qwen3_moe" or layer >= c["max_window_layers"]:
            return c["sliding_window"]
        return None

    # Feed-forward

    def feed_forward(self, layer, x):
        prefix = f"model.layers.{layer}."
        if self.family == "mixtral":
            return self.experts(prefix + "block_sparse_moe.", x, ("w1", "w3", "w2"))
        if not self.is_sparse(layer):
            return self.mlp(prefix + "mlp.", x)
        y = self.experts(prefix + "mlp.", x, ("gate_proj", "up_proj", "down_proj"))
        if self.is_mla:
            y = y + self.mlp(prefix + "mlp.shared_experts.", x)
        return y

    def is_sparse(self, layer):
        c = self.config
        if self.is_mla:
            return layer >= c["first_k_dense_replace"]
        if self.family == "qwen3_moe":
            return layer not in (c.get("mlp_only_layers") or []) and (layer + 1) % c["decoder_sparse_step"] == 0
        return False

    def mlp(self, prefix, x, names=("gate_proj", "up_proj", "down_proj")):
        gate, up, down = (prefix + name for name in names)
        return self.linear(down, silu(self.linear(gate, x)) * self.linear(up, x))

    def experts(self, prefix, x, names):
        chosen, weights = self.route(prefix, x)
        y = np.zeros_like(x)
        for token, row in enumerate(x):
            for expert, weight in zip(chosen[token], weights[token]):
                y[token] += weight * self.expert(prefix, expert, row, names)
        return y

    def expert(self, prefix, expert, row, names):
        fused = self.tensors.get(prefix + "experts.gate_up_proj")
        if fused is None:
            return self.mlp(f"{prefix}experts.{expert}.", row, names)
        gate, up = np.split(fused[expert] @ row, 2)
        return self.tensors[prefix + "experts.down_proj"][expert] @ (silu(gate) * up)

    # Routing

    def route(self, prefix, x):
        """The chosen experts [tokens, k] and their weights."""
        c = self.config
        top_k = c["num_experts_per_tok"]
        scores = x @ self.tensors[prefix + "gate.weight"].T
        if self.family == "deepseek_v3":
            scores = 1 / (1 + np.exp(-scores))
            choice = scores + self.tensors[prefix + "gate.e_score_correction_bias"]
            choice = self.keep_groups(choice, lambda group: np.sort(group, axis=-1)[..., -2:].sum(axis=-1), -np.inf)
        else:
            scores = choice = softmax(scores)
            if c.get("topk_method") == "group_limited_greedy":
                choice = self.keep_groups(choice, lambda group: group.max(axis=-1), 0.0)
        chosen = self.largest(choice, top_k)
        weights = np.take_along_axis(scores, chosen, axis=-1)
        if self.normalises():
            weights = weights / weights.sum(axis=-1, keepdims=True)
        return chosen, weights * (c["routed_scaling_factor"] if self.is_mla else 1.0)

    def normalises(self):
        if self.family == "deepseek_v2":
            return False  # whatever norm_topk_prob says
        return self.family == "mixtral" or self.config["norm_topk_prob"]

    def keep_groups(self, choice, score, hidden_value):
        """Hides every expert outside the best `topk_group` groups from the choice."""
        groups = self.config["n_group"]
        split = choice.reshape(len(choice), groups, -1)
        kept = self.largest(score(split), self.config["topk_group"])
        mask = np.zeros((len(choice), groups, 1), bool)
        np.put_along_axis(mask, kept[..., None], True, axis=1)
        return np.where(mask, split, hidden_value).reshape(choice.shape)

    def largest(self, values, count):
        order = np.argsort(-values, axis=-1, kind="stable")
        if count < values.shape[-1]:
            ranked = np.take_along_axis(values, order, axis=-1)
            margin = np.min(ranked[:, count - 1] - ranked[:, count])
            self.routing_margin = min(self.routing_margin, margin)
        return order[:, :count]


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def causal_softmax(scores, window):
    """scores [heads, tokens, tokens]; each row sees itself and the past, or only the last `window` of those."""
    position = np.arange(scores.shape[-1])
    distance = position[:, None] - position[None, :]
    visible = (distance >= 0) & (distance < (window or len(position)))
    return softmax(np.where(visible, scores, -np.inf))


def rotate(x, frequencies, factor, adjacent):
    """x [tokens, heads, width]: turns pairs (2i, 2i+1) if adjacent, (i, i + width/2) otherwise."""
    angles = np.arange(len(x))[:, None, None] * frequencies
    cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
    first, second = (x[..., 0::2], x[..., 1::2]) if adjacent else np.split(x, 2, axis=-1)
    # Queries and keys come out in the same order, so it does not matter to their product that pairs are not put back.
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def rope_frequencies(rope, width, max_positions):
    """Radians per position for each pair, and the factor on cos and sin."""
    frequencies = float(rope["rope_theta"]) ** (-np.arange(0, width, 2) / width)
    kind = rope["rope_type"]
    if kind == "linear":
        return frequencies / rope["factor"], 1.0
    if kind == "llama3":
        return llama3_frequencies(rope, frequencies), 1.0
    if kind == "yarn":
        return yarn_frequencies(rope, frequencies, width, max_positions), yarn_attention_factor(rope, max_positions)
    assert kind == "default", kind
    return frequencies, 1.0


def llama3_frequencies(rope, frequencies):
    """Slow pairs are divided by the factor, fast ones kept, those between blended by turns per original context."""
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (keep + (1 - keep) / rope["factor"])


def yarn_frequencies(rope, frequencies, width, max_positions):
    original = rope["original_max_position_embeddings"]

    def pair_turning(times):
        return width * np.log(original / (times * 2 * np.pi)) / (2 * np.log(rope["rope_theta"]))

    low, high = pair_turning(rope.get("beta_fast") or 32), pair_turning(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = np.floor(low), np.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = np.clip((np.arange(width // 2) - low) / ((high - low) or 0.001), 0, 1)
    factor = rope.get("factor") or max_positions / original
    return frequencies * (1 - ramp) + frequencies / factor * ramp


def yarn_growth(scale, mscale):
    return 1.0 if scale <= 1 else 0.1 * mscale * np.log(scale) + 1.0


def yarn_attention_factor(rope, max_positions):
    if rope.get("attention_factor") is not None:
        return rope["attention_factor"]
    factor = rope.get("factor") or max_positions / rope["original_max_position_embeddings"]
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return yarn_growth(factor, rope["mscale"]) / yarn_growth(factor, rope["mscale_all_dim"])
    return yarn_growth(factor, 1.0)


def yarn_score_factor(rope):
    """What DeepSeek multiplies attention scores by, beside the usual square root."""
    if rope["rope_type"] == "default" or not rope.get("mscale_all_dim"):
        return 1.0
    return yarn_growth(rope["factor"], rope["mscale_all_dim"]) ** 2
