//! Attention over caches of every format.

use super::*;
use crate::blob::{Attention, Gqa, Mla, ModelConfig};
use crate::burn::backend::Attend;
use crate::kv::RowLayout;
use crate::quant::KvFormat;

const FORMATS: [KvFormat; 4] = [KvFormat::F32, KvFormat::F16, KvFormat::Q8, KvFormat::Q4];

/// What attention is asked in one test.
struct Question {
    layout: RowLayout,
    heads: usize,
    cached_heads: usize,
    quantizes: bool,
    window: usize,
    /// Tokens of each batch; the last one asks.
    batches: Vec<usize>,
}

impl Question {
    fn new(attention: Attention, kv: KvFormat, heads: usize, batches: Vec<usize>) -> Self {
        let config = ModelConfig {
            vocab_size: 0,
            hidden_size: 0,
            num_hidden_layers: 1,
            num_attention_heads: heads as u32,
            intermediate_size: 0,
            max_position_embeddings: 0,
            rms_norm_eps: 0.0,
            tie_word_embeddings: false,
            mlp_bias: false,
            attention,
            softmax_scale: 0.1,
            rope_attention_factor: 1.0,
            sliding_window: None,
            moe: None,
        };
        Self {
            layout: RowLayout::new(&config, kv),
            heads,
            cached_heads: match attention {
                Attention::Mla(_) => 1,
                Attention::Gqa(gqa) => gqa.num_key_value_heads as usize,
            },
            quantizes: matches!(kv, KvFormat::Q8 | KvFormat::Q4),
            window: usize::MAX,
            batches,
        }
    }

    fn run<B: DecoderBackend>(&self, is_latent: bool) -> Vec<f32> {
        let mut numbers = Numbers::new(9);
        let context = self.batches.iter().sum();
        let mut rows = B::new_cache(
            &self.layout,
            self.cached_heads,
            context,
            &Default::default(),
        );
        let (first, second) = self.layout.latent();
        let mut position = 0;
        let mut answer = Vec::new();
        for tokens in self.batches.iter().copied() {
            let mut part = |heads: usize, width: usize| {
                let values = numbers.list(tokens * heads * width, 3.0);
                tensor::<B, 3>(&values, [tokens, heads, width])
            };
            let parts = [first.len, second.len].map(|width| part(self.cached_heads, width));
            B::store(&mut rows, position, parts);
            let task = Attend {
                query: B::activation(part(self.heads, first.len), self.quantizes),
                rotated: is_latent.then(|| part(self.heads, second.len)),
                scale: 0.11,
                position,
                window: self.window,
            };
            answer = list(B::attend(&rows, &task));
            position += tokens;
        }
        answer
    }

    fn compare(&self, what: &str, is_latent: bool) {
        same(
            what,
            &self.run::<Flex>(is_latent),
            &self.run::<Wgpu>(is_latent),
        );
    }
}

#[test]
fn latent_attention() {
    for kv in FORMATS {
        for (heads, latent, rope) in [(16, 64, 16), (3, 48, 8), (1, 512, 64), (10, 130, 6)] {
            let attention = Attention::Mla(Mla {
                q_lora_rank: None,
                kv_lora_rank: latent,
                qk_nope_head_dim: 0,
                qk_rope_head_dim: rope,
                v_head_dim: 0,
                latent_norm_eps: 0.0,
                bias: false,
            });
            for batches in [vec![1], vec![130, 1], vec![200, 70, 2], vec![5, 3]] {
                let question = Question::new(attention, kv, heads, batches);
                question.compare(&format!("{kv:?} latent of {latent}"), true);
            }
        }
    }
}

#[test]
fn grouped_attention() {
    for kv in FORMATS {
        for (heads, cached, width) in [(9, 3, 64), (4, 4, 16), (14, 2, 40), (24, 1, 33)] {
            let attention = Attention::Gqa(Gqa {
                num_key_value_heads: cached,
                head_dim: width,
                query_key_norm: false,
                qkv_bias: false,
                output_bias: false,
            });
            for (window, batches) in [
                (usize::MAX, vec![1]),
                (usize::MAX, vec![300, 1]),
                (100, vec![129, 150, 1]),
                (7, vec![125, 6]),
            ] {
                let mut question = Question::new(attention, kv, heads, batches);
                question.window = window;
                question.compare(
                    &format!("{kv:?} of {cached} x {width}, window {window}"),
                    false,
                );
            }
        }
    }
}
