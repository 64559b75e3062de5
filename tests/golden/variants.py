"""The small checkpoints make_golden.py makes: what each one is there to catch.

`model` is the transformers model type; `config` goes to its configuration class. `storage` is the type of the weights
in the file, `fp8` adds DeepSeek's block-scaled FP8, `shards` is the number of files, `mtp` adds the tensors of a
multi-token-prediction layer (make_mtp.py then gives them weights), `scale` multiplies weights whose name contains the key.
Widths are deliberately not multiples of 16 or 32 in most of them.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    model: str
    config: dict
    storage: str = "float32"
    fp8: bool = False
    shards: int = 1
    mtp: bool = False
    scale: dict = field(default_factory=dict)


COMMON = dict(vocab_size=96, hidden_act="silu", bos_token_id=0, eos_token_id=1)

MLA = dict(
    COMMON,
    hidden_size=30,
    intermediate_size=44,
    moe_intermediate_size=10,
    num_hidden_layers=2,
    num_attention_heads=5,
    num_key_value_heads=5,
    kv_lora_rank=18,
    qk_nope_head_dim=10,
    qk_rope_head_dim=8,
    v_head_dim=6,
    max_position_embeddings=512,
    first_k_dense_replace=1,
)

V3 = dict(
    MLA,
    n_routed_experts=8,
    num_experts_per_tok=3,
    n_group=4,
    topk_group=2,
    n_shared_experts=1,
    norm_topk_prob=True,
    routed_scaling_factor=2.5,
    num_nextn_predict_layers=0,
)

GQA = dict(
    COMMON,
    hidden_size=24,
    intermediate_size=36,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
)


def default_rope(theta=10000.0):
    return dict(rope_type="default", rope_theta=theta)


def yarn(original=32, **settings):
    return dict(rope_type="yarn", rope_theta=10000.0, original_max_position_embeddings=original, **settings)


VARIANTS = {
    # Group-limited softmax routing as in V2: the group's best probability decides, nothing is normalised, weights are
    # multiplied by 16. Two shared experts are one wide MLP. Biases on q_a, kv_a, o and on the dense and shared MLPs.
    "v2-group": Variant(
        "deepseek_v2",
        dict(
            MLA,
            q_lora_rank=22,
            n_routed_experts=8,
            num_experts_per_tok=3,
            topk_method="group_limited_greedy",
            n_group=4,
            topk_group=2,
            n_shared_experts=2,
            norm_topk_prob=False,
            routed_scaling_factor=16.0,
            attention_bias=True,
            mlp_bias=True,
            max_position_embeddings=1280,
            rope_parameters=yarn(factor=40.0, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707),
        ),
        scale={".mlp.experts.": 0.4},
    ),
    # No q_lora_rank, one group, weights not normalised, MoE from the first layer, tied embeddings. rms_norm_eps is large
    # so that using it for kv_a_layernorm, which has its own 1e-6, shows.
    "v3-plain": Variant(
        "deepseek_v3",
        dict(
            V3,
            q_lora_rank=None,
            n_routed_experts=6,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            norm_topk_prob=False,
            routed_scaling_factor=1.8,
            first_k_dense_replace=0,
            rms_norm_eps=1e-2,
            tie_word_embeddings=True,
            rope_parameters=default_rope(),
        ),
    ),
    # RoPE on half-split pairs, in a family that otherwise rotates adjacent ones. The eps is for q_a_layernorm's sake.
    "v3-halfsplit": Variant(
        "deepseek_v3",
        dict(V3, q_lora_rank=20, rms_norm_eps=1e-2, rope_interleave=False, rope_parameters=default_rope(50000.0)),
    ),
    # mscale != mscale_all_dim, so cos and sin are scaled as well as the scores; betas that do change the ramp. Three files, cut without regard to
    # which tensors belong together; one more layer in them than num_hidden_layers.
    "v3-yarn-mscale": Variant(
        "deepseek_v3",
        dict(
            V3,
            q_lora_rank=20,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            attention_bias=True,
            num_nextn_predict_layers=1,
            max_position_embeddings=1024,
            rope_parameters=yarn(128, factor=8.0, beta_fast=2.0, beta_slow=0.1, mscale=1.2, mscale_all_dim=0.6),
        ),
        shards=3,
        mtp=True,
    ),
    # FP8 with 128 x 128 blocks whose last row and column of blocks is short (136, 144 and 160 rows
    # or columns).
    "v3-fp8": Variant(
        "deepseek_v3",
        dict(
            V3,
            vocab_size=64,
            hidden_size=160,
            intermediate_size=136,
            moe_intermediate_size=12,
            kv_lora_rank=136,
            q_lora_rank=36,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            rope_parameters=default_rope(),
        ),
        storage="bfloat16",
        fp8=True,
    ),
    "v3-bf16": Variant(
        "deepseek_v3",
        dict(
            V3,
            q_lora_rank=20,
            max_position_embeddings=128,
            rope_parameters=yarn(factor=4.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0),
        ),
        storage="bfloat16",
    ),
    # Every layer looks back 16 tokens, less than the longer prompt. Experts named w1, w2, w3.
    "mixtral": Variant(
        "mixtral",
        dict(
            GQA,
            intermediate_size=22,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=16,
            rope_parameters=default_rope(1e6),
        ),
    ),
    # Biases on q, k and v but not on o; tied.
    "qwen2": Variant("qwen2", dict(GQA, tie_word_embeddings=True, rope_parameters=default_rope(1e6))),
    # Only layers from max_window_layers on slide.
    "qwen2-window": Variant(
        "qwen2",
        dict(
            GQA,
            hidden_size=40,
            num_hidden_layers=3,
            num_key_value_heads=1,
            use_sliding_window=True,
            sliding_window=12,
            max_window_layers=1,
            rope_parameters=default_rope(),
        ),
    ),
    # Head width unrelated to hidden_size / heads; YaRN without any mscale, and with bounds that are not rounded.
    "qwen3": Variant(
        "qwen3",
        dict(
            GQA,
            hidden_size=28,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=18,
            rms_norm_eps=1e-5,
            max_position_embeddings=128,
            rope_parameters=yarn(factor=4.0, truncate=False),
        ),
    ),
    # Layer 1 is the only sparse one: 0 and 2 by decoder_sparse_step, 3 by mlp_only_layers. Weights not normalised.
    "qwen3moe-sparse": Variant(
        "qwen3_moe",
        dict(
            GQA,
            num_hidden_layers=4,
            head_dim=14,
            moe_intermediate_size=14,
            num_experts=6,
            num_experts_per_tok=2,
            decoder_sparse_step=2,
            mlp_only_layers=[3],
            norm_topk_prob=False,
            rope_parameters=default_rope(1e6),
        ),
    ),
    # Biases on every projection; slow, blended and fast pairs all occur.
    "llama3-rope": Variant(
        "llama",
        dict(
            GQA,
            hidden_size=36,
            head_dim=12,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters=dict(
                rope_type="llama3",
                rope_theta=10000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        ),
    ),
    "llama-linear": Variant(
        "llama",
        dict(GQA, hidden_size=40, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        storage="float16",
    ),
}
