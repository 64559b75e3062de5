//! Keys that are absent mean what transformers' configuration classes say.

use briquette_engine::blob::LayerKind;
use serde_json::json;

use super::{changed, gqa, mla, small};

const MOE: LayerKind = LayerKind(LayerKind::MOE);
const DENSE: LayerKind = LayerKind(0);

#[test]
fn absent_keys_take_the_class_s_defaults() {
    let bare = |name| changed(&small(name), json!({"num_key_value_heads": "absent"}));
    let llama = bare("LlamaForCausalLM");
    assert_eq!(
        (gqa(&llama).num_key_value_heads, gqa(&llama).head_dim),
        (4, 4)
    );
    assert_eq!(
        (
            llama.config.rms_norm_eps,
            llama.config.max_position_embeddings
        ),
        (1e-6, 2048)
    );
    assert!(!llama.config.tie_word_embeddings && !gqa(&llama).qkv_bias);
    // theta = 10000, four dimensions: 1 and 1/100.
    assert_eq!(llama.rope_inverse_frequencies, [1.0, 0.01]);

    let many_heads = json!({"num_attention_heads": 32, "hidden_size": 256,
        "num_key_value_heads": "absent"});
    let mixtral = changed(&small("MixtralForCausalLM"), many_heads.clone());
    assert_eq!(gqa(&mixtral).num_key_value_heads, 8);
    assert_eq!(
        (mixtral.config.rms_norm_eps, mixtral.config.sliding_window),
        (1e-5, None)
    );
    let moe = mixtral.config.moe.unwrap();
    assert_eq!((moe.num_experts, moe.top_k, moe.expert_size), (8, 2, 24));
    // theta = 1000000, eight dimensions: 10^(-6/4).
    assert!((mixtral.rope_inverse_frequencies[1] - 0.031_622_776).abs() < 1e-8);

    let mistral = changed(&small("MistralForCausalLM"), many_heads.clone());
    assert_eq!(gqa(&mistral).num_key_value_heads, 8);
    assert_eq!(mistral.config.sliding_window, Some(4096));

    let qwen3 = changed(&small("Qwen3ForCausalLM"), many_heads.clone());
    assert_eq!(
        (gqa(&qwen3).num_key_value_heads, gqa(&qwen3).head_dim),
        (32, 128)
    );
    let qwen3_moe = changed(&small("Qwen3MoeForCausalLM"), many_heads);
    assert_eq!(
        (
            gqa(&qwen3_moe).num_key_value_heads,
            gqa(&qwen3_moe).head_dim
        ),
        (4, 8)
    );
    let moe = qwen3_moe.config.moe.unwrap();
    assert_eq!((moe.num_experts, moe.top_k, moe.expert_size), (128, 8, 768));
    assert!(!moe.router.normalize);

    let v3 = changed(
        &small("DeepseekV3ForCausalLM"),
        json!({"num_hidden_layers": 4}),
    );
    let latent = mla(&v3);
    assert_eq!((latent.q_lora_rank, latent.kv_lora_rank), (Some(1536), 512));
    assert_eq!(
        (latent.qk_nope_head_dim, latent.qk_rope_head_dim),
        (128, 64)
    );
    assert_eq!(v3.layers, [DENSE, DENSE, DENSE, MOE]);
    let moe = v3.config.moe.unwrap();
    assert_eq!(
        (moe.num_experts, moe.top_k, moe.expert_size, moe.shared_size),
        (256, 8, 2048, 2048)
    );
    assert_eq!((moe.router.num_groups, moe.router.top_groups), (8, 4));
    assert_eq!((moe.router.normalize, moe.router.scale), (true, 2.5));

    let v2 = changed(
        &small("DeepseekV2ForCausalLM"),
        json!({"num_experts_per_tok": 6}),
    );
    assert_eq!(v2.layers, [MOE; 3]);
    assert_eq!(v2.config.intermediate_size, 0);
    let moe = v2.config.moe.unwrap();
    assert_eq!(
        (moe.num_experts, moe.expert_size, moe.shared_size),
        (64, 1407, 2 * 1407)
    );
    assert_eq!((moe.router.num_groups, moe.router.scale), (1, 1.0));
}
