//! Attention's middle: all heads of all tokens against the cached rows, shared
//! by the team.
//!
//! Many queries are split by query. One token's few are split by position:
//! each thread takes chunks of the context, and their sums are folded in
//! ascending order. Both ways give the same bits.

use crate::blob::{Attention, ModelConfig};
use crate::cut;
use crate::execute::window;
use crate::kernels::Isa;
use crate::kernels::attend::{
    Attend, CHUNK, Query, QueryPart, Total, WIDE, attend, attend_chunk, finish, fold,
};

use super::heads::query_part;
use crate::cpu::activation::Activation;
use crate::cpu::buffers::Step;
use crate::cpu::cache::Cache;
use crate::cpu::decoder::Decoder;
use crate::cpu::means::Means;
use crate::cpu::plan::{TOTAL, value_width};
use crate::cpu::team::Team;

/// The queries of a step, in groups that share the same segments of a row:
/// `[groups, tokens, heads of a group]`.
struct Queries<'a> {
    config: &'a ModelConfig,
    cache: &'a Cache<'a>,
    layer: usize,
    step: Step,
    window: usize,
    groups: usize,
    /// Latent queries, or grouped ones.
    main: &'a Activation<'a>,
    /// All of a head's query: its end is the rotated part of a latent query.
    query: &'a [f32],
}

impl<T: Team> Decoder<'_, T> {
    /// Each head of each token attends; results `[groups, token, heads of a
    /// group, width]` in `panel`. Queries: latent ones in `input` (and rotated
    /// ones in `query`), grouped ones in `middle`.
    pub(super) fn attend_heads(&mut self, layer: usize, step: Step) {
        let config = &self.model.config;
        let (means, memory) = (&self.means, &mut self.memory);
        let buffers = &mut memory.buffers;
        let (groups, main) = match config.attention {
            Attention::Mla(_) => (1, &buffers.input),
            Attention::Gqa(gqa) => (gqa.num_key_value_heads as usize, &buffers.middle),
        };
        let queries = Queries {
            config,
            cache: &memory.cache,
            layer,
            step,
            window: window(&self.model.blob, layer),
            groups,
            main,
            query: buffers.query,
        };
        let width = value_width(config);
        let panel = cut::first_mut(buffers.panel, queries.len() * width);
        let chunks = queries.first(0) / CHUNK..step.position / CHUNK + 1;
        if step.tokens == 1 && means.team.threads() > 1 && chunks.len() > 1 {
            queries.attend_by_position(means, width, chunks, buffers.partials, panel);
        } else {
            queries.attend_by_query(means, width, panel);
        }
        let row_bytes = memory.cache.layout().row_bytes as u64;
        let seen = step.position + step.tokens - queries.first(0);
        memory.traffic.kv += (seen + step.tokens) as u64 * row_bytes;
    }
}

impl<'a> Queries<'a> {
    const fn len(&self) -> usize {
        self.step.tokens * self.config.num_attention_heads as usize
    }

    /// Queries of one group, at least one.
    fn group_len(&self) -> usize {
        (self.len() / self.groups.max(1)).max(1)
    }

    /// The first position that `token` sees.
    const fn first(&self, token: usize) -> usize {
        (self.step.position + token + 1).saturating_sub(self.window)
    }

    fn attend_by_query(&self, means: &Means<impl Team>, width: usize, panel: &mut [f32]) {
        // Queries that meet a row together are not shared out: widening the row is
        // most of the work.
        let together = self.group_len().min(WIDE);
        let team = &means.team;
        team.for_each_range(panel, together * width, |first, range| {
            let (mut first, mut rest) = (first * together, range);
            while !rest.is_empty() {
                let group = first / self.group_len();
                let count = (group + 1) * self.group_len() - first;
                let (out, tail) = cut::split_at_most_mut(rest, count * width);
                attend(means.isa, &self.task(group), |i| self.query(first + i), out);
                (first, rest) = (first + count, tail);
            }
        });
    }

    fn attend_by_position(
        &self,
        means: &Means<impl Team>,
        width: usize,
        chunks: core::ops::Range<usize>,
        partials: &mut [f32],
        out: &mut [f32],
    ) {
        let count = self.len();
        let unit = (count * (width + TOTAL)).max(1);
        let (totals, partials) = cut::split_mut(partials, count * TOTAL);
        let totals: &mut [Total] = bytemuck::try_cast_slice_mut(totals).unwrap_or_default();
        totals.fill(Total::NONE);
        out.fill(0.0);
        let mut next = chunks.start;
        while next < chunks.end {
            let taken = (chunks.end - next).min(partials.len() / unit).max(1);
            let partials = cut::first_mut(partials, taken * unit);
            let team = &means.team;
            team.for_each_range(partials, unit, |first, range| {
                for (i, partial) in range.chunks_mut(unit).enumerate() {
                    self.attend_to_chunk(means.isa, width, next + first + i, partial);
                }
            });
            for partial in partials.chunks(unit) {
                let (sums, sum_totals) = cut::split(partial, count * width);
                let sum_totals: &[Total] = bytemuck::try_cast_slice(sum_totals).unwrap_or_default();
                let sums = sums.chunks(width.max(1)).zip(sum_totals);
                for ((out, total), (sum, sum_total)) in out
                    .chunks_mut(width.max(1))
                    .zip(totals.iter_mut())
                    .zip(sums)
                {
                    fold(out, total, sum, *sum_total);
                }
            }
            next += taken;
        }
        for (out, total) in out.chunks_mut(width.max(1)).zip(totals) {
            finish(out, *total);
        }
    }

    /// All queries against one chunk: sums, then totals.
    fn attend_to_chunk(&self, isa: Isa, width: usize, chunk: usize, partial: &mut [f32]) {
        let (sums, totals) = cut::split_mut(partial, self.len() * width);
        let totals: &mut [Total] = bytemuck::try_cast_slice_mut(totals).unwrap_or_default();
        let len = self.group_len();
        let groups = sums
            .chunks_mut((len * width).max(1))
            .zip(totals.chunks_mut(len));
        for (group, (sums, totals)) in groups.enumerate() {
            let query = |i| self.query(group * len + i);
            attend_chunk(isa, &self.task(group), query, chunk, sums, totals);
        }
    }

    fn task(&self, group: usize) -> Attend<'_> {
        let layout = self.cache.layout();
        let (keys, value) = match self.config.attention {
            Attention::Mla(_) => {
                let (latent, rotated) = layout.latent();
                ([latent, rotated], latent)
            }
            Attention::Gqa(_) => {
                let (key, value) = layout.key_value(group);
                ([key, key.empty()], value)
            }
        };
        Attend {
            rows: self
                .cache
                .rows(self.layer, self.step.position + self.step.tokens),
            row_bytes: layout.row_bytes,
            keys,
            value,
            scale: self.config.softmax_scale,
        }
    }

    fn query(&self, index: usize) -> Query<'_> {
        let heads = self.config.num_attention_heads as usize;
        let shared = (heads / self.groups.max(1)).max(1);
        let (group, index) = (index / self.group_len(), index % self.group_len());
        let (token, head) = (index / shared, group * shared + index % shared);
        let len = value_width(self.config);
        let rotated = match self.config.attention {
            Attention::Mla(mla) => {
                let at = (token * heads + head) * self.config.head_dim() as usize;
                let rotated = at + mla.qk_nope_head_dim as usize;
                QueryPart {
                    values: cut::part(self.query, rotated, mla.qk_rope_head_dim as usize),
                    ..QueryPart::default()
                }
            }
            Attention::Gqa(_) => QueryPart::default(),
        };
        Query {
            parts: [query_part(self.main, len, token, head), rotated],
            first: self.first(token),
            last: self.step.position + token,
        }
    }
}
