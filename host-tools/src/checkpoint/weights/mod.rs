//! A checkpoint's weights in the canonical order, shape and layout.

mod checks;
mod rope_pairs;
mod unread;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::mem;
use std::ops::Range;

use briquette_engine::blob::{LayerKind, Role, Shape};

use super::{
    Encoding, ImportError, Location, Mapping, Model, Rows, TensorId, TensorStore, Transform,
};
use rope_pairs::RopePairs;

/// A model together with what it takes to read its weights.
pub struct Weights {
    model: Model,
    store: Box<dyn TensorStore>,
    mapping: Box<dyn Mapping>,
    stored: Rows,
    transposed: Option<TransposedMatrix>,
}

/// The last matrix that was transposed: its rows are usually asked for in
/// several calls, but each of them needs all of what is stored.
struct TransposedMatrix {
    tensor: String,
    first_row: u64,
    rows: Rows,
}

impl Weights {
    /// Joins a model, its tensors and the knowledge of their names.
    pub fn new(model: Model, store: Box<dyn TensorStore>, mapping: Box<dyn Mapping>) -> Self {
        Self {
            model,
            store,
            mapping,
            stored: Rows::default(),
            transposed: None,
        }
    }

    /// What the model is.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Makes the layer for multi-token prediction one of the model's layers.
    ///
    /// # Errors
    /// If the checkpoint has none, or one that does not share the model's
    /// embedding and head.
    pub fn add_mtp_layer(&mut self) -> Result<(), ImportError> {
        let Some(kind) = self.model.mtp.take() else {
            return Err(ImportError::NoMtpLayer);
        };
        for (role, copy) in self.mapping.mtp_copies(self.model.layers.len() as u32) {
            let role = match role {
                Role::LmHead if self.model.config.tie_word_embeddings => Role::Embedding,
                role => role,
            };
            let original = self.mapping.location(TensorId { role, layer: 0 }, 0).tensor;
            if !self.is_copy(&copy, &original)? {
                return Err(ImportError::Unsupported {
                    what: "multi-token prediction with an own",
                    found: copy,
                    supported: format!("the same weights as `{original}`"),
                });
            }
        }
        self.model.layers.push(kind);
        Ok(())
    }

    /// Whether there is no tensor `copy`, or one like `original`, as far as a
    /// sample of its rows shows.
    fn is_copy(&mut self, copy: &str, original: &str) -> Result<bool, ImportError> {
        const SAMPLE: u64 = 64;
        let (found, expected) = (self.store.find(copy), self.store.find(original));
        let (Some(found), Some(expected)) = (found, expected) else {
            return Ok(true);
        };
        if found.shape != expected.shape {
            return Ok(false);
        }
        let rows = found.shape.first().copied().unwrap_or(0);
        let (mut ours, mut theirs) = (Rows::default(), Rows::default());
        for sample in 0..SAMPLE.min(rows) {
            let row = sample * rows / SAMPLE.min(rows);
            self.store.read_rows(copy, row..row + 1, &mut ours)?;
            self.store.read_rows(original, row..row + 1, &mut theirs)?;
            if ours.values != theirs.values {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All tensors that the model has, in file order.
    pub fn ids(&self) -> impl Iterator<Item = TensorId> + use<'_> {
        let layers = (0..).zip(&self.model.layers);
        let model = Role::MODEL.map(|role| (TensorId { role, layer: 0 }, LayerKind::default()));
        let layers = layers
            .flat_map(|(layer, &kind)| Role::LAYER.map(|role| (TensorId { role, layer }, kind)));
        model
            .into_iter()
            .chain(layers)
            .filter(|&(id, kind)| self.model.config.shape(id.role, kind).is_some())
            .map(|(id, _)| id)
    }

    /// The tensor's canonical shape, `None` if the model has no such tensor.
    pub fn shape(&self, id: TensorId) -> Option<Shape> {
        let kind = if Role::MODEL.contains(&id.role) {
            LayerKind::default()
        } else {
            *self.model.layers.get(id.layer as usize)?
        };
        self.model.config.shape(id.role, kind)
    }

    /// How the tensor's numbers are stored; `None` if the checkpoint lacks the
    /// tensor or they cannot be read.
    pub fn encoding(&self, id: TensorId) -> Option<Encoding> {
        if id.role == Role::RopeInverseFrequency {
            return Some(Encoding::F32);
        }
        let name = self.mapping.location(id, 0).tensor;
        self.store.find(&name)?.encoding
    }

    /// The name that the checkpoint stores matrix number `index` of the tensor
    /// under.
    pub fn stored_name(&self, id: TensorId, index: u32) -> String {
        match id.role {
            Role::RopeInverseFrequency => label(id),
            _ => self.mapping.location(id, index).tensor,
        }
    }

    /// Checks that every tensor that the configuration asks for is there, has
    /// the shape that it asks for, and is in a format that can be read, and that
    /// the checkpoint has no others that would change the result. Reads no
    /// weights.
    ///
    /// # Errors
    /// If one is absent, has another shape, cannot be read, or would be ignored.
    pub fn check(&mut self) -> Result<(), ImportError> {
        let mut used = HashSet::new();
        let ids: Vec<TensorId> = self.ids().collect();
        for id in ids {
            let shape = self.known_shape(id)?;
            if id.role == Role::RopeInverseFrequency {
                self.check_frequencies(shape)?;
                continue;
            }
            let mut last = String::new();
            for index in 0..shape.count {
                let location = self.mapping.location(id, index);
                checks::extent(&location, shape)?;
                if location.tensor != last {
                    self.check_stored(&location)?;
                    used.insert(location.tensor.clone());
                    last = location.tensor;
                }
            }
        }
        let layers = self.model.layers.len() as u32;
        unread::check(self.store.names(), &used, &*self.mapping, layers)
    }

    /// Replaces `out` by the canonical rows `rows` of matrix number `index` (an
    /// expert, a head, else 0) of the tensor `id`. A vector is one row.
    ///
    /// # Errors
    /// If the model has no such rows, reading fails, or a weight is not a
    /// finite number.
    pub fn read(
        &mut self,
        id: TensorId,
        index: u32,
        rows: Range<u32>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let shape = self.known_shape(id)?;
        if index >= shape.count || rows.start > rows.end || rows.end > shape.rows {
            return Err(ImportError::NoSuchRows {
                tensor: label(id),
                first: rows.start.into(),
                last: rows.end.into(),
            });
        }
        if id.role == Role::RopeInverseFrequency {
            self.check_frequencies(shape)?;
            out.cols = shape.cols as usize;
            out.grids.clear();
            out.values.clear();
            if !rows.is_empty() {
                out.values.extend(&self.model.rope_inverse_frequencies);
            }
            return Ok(());
        }
        let location = self.mapping.location(id, index);
        checks::extent(&location, shape)?;
        match location.transform {
            Transform::Direct => self.read_stored(&location, widen(&rows), out),
            Transform::SplitRopePairs {
                head_rows,
                rope_rows,
            } => {
                let pairs = RopePairs::new(head_rows, rope_rows);
                if id.role.is_vector() {
                    self.read_stored(&location, widen(&rows), out)?;
                    pairs.split_elements(&mut out.values);
                    out.grids.clear();
                    Ok(())
                } else {
                    self.read_split(&location, pairs, rows, out)
                }
            }
            Transform::Transposed => self.read_transposed(&location, shape, rows, out),
        }
    }

    fn known_shape(&self, id: TensorId) -> Result<Shape, ImportError> {
        self.shape(id)
            .ok_or_else(|| ImportError::MissingTensor { tensor: label(id) })
    }

    fn check_frequencies(&self, shape: Shape) -> Result<(), ImportError> {
        let frequencies = &self.model.rope_inverse_frequencies;
        let location = Location {
            tensor: format!("{:?}", Role::RopeInverseFrequency),
            shape: vec![shape.cols.into()],
            first_row: 0,
            transform: Transform::Direct,
        };
        checks::stored_values(&location, 0, 1, (frequencies.len(), frequencies))
    }

    fn check_stored(&mut self, location: &Location) -> Result<(), ImportError> {
        let stored = self
            .store
            .find(&location.tensor)
            .ok_or_else(|| unread::missing(location.tensor.clone(), self.store.names()))?;
        if stored.shape != location.shape {
            return Err(ImportError::Shape {
                tensor: location.tensor.clone(),
                found: stored.shape,
                expected: location.shape.clone(),
            });
        }
        // No rows: only whether the store can read this format at all.
        self.store
            .read_rows(&location.tensor, 0..0, &mut self.stored)
    }

    /// Reads stored rows, counted from the location's first, and checks that the
    /// store kept to the expected width and that all weights are finite.
    fn read_stored(
        &mut self,
        location: &Location,
        rows: Range<u64>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let first = location.first_row + rows.start;
        let last = location.first_row + rows.end;
        self.store.read_rows(&location.tensor, first..last, out)?;
        let values = (out.cols, out.values.as_slice());
        checks::stored_values(location, first, last - first, values)
    }

    /// Reads the span of stored rows that the canonical `rows` come from, which
    /// is wider than they are only where the range cuts a head's rotated rows.
    fn read_split(
        &mut self,
        location: &Location,
        pairs: RopePairs,
        rows: Range<u32>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let sources: Vec<u32> = rows.map(|row| pairs.source(row)).collect();
        let first = sources.iter().copied().min().unwrap_or(0);
        let last = sources.iter().map(|row| row + 1).max().unwrap_or(0);
        let mut stored = mem::take(&mut self.stored);
        let result = self.read_stored(location, first.into()..last.into(), &mut stored);
        if result.is_ok() {
            let sources = sources.iter().map(|row| (row - first) as usize);
            gather_rows(&stored, sources, out);
        }
        self.stored = stored;
        result
    }

    fn read_transposed(
        &mut self,
        location: &Location,
        shape: Shape,
        rows: Range<u32>,
        out: &mut Rows,
    ) -> Result<(), ImportError> {
        let cached = self.transposed.take().filter(|matrix| {
            matrix.tensor == location.tensor && matrix.first_row == location.first_row
        });
        let matrix = match cached {
            Some(matrix) => matrix,
            None => self.transpose(location, shape)?,
        };
        let cols = matrix.rows.cols;
        out.cols = cols;
        out.grids.clear();
        out.values.clear();
        let values = rows.start as usize * cols..rows.end as usize * cols;
        out.values.extend(&matrix.rows.values[values]);
        self.transposed = Some(matrix);
        Ok(())
    }

    fn transpose(
        &mut self,
        location: &Location,
        shape: Shape,
    ) -> Result<TransposedMatrix, ImportError> {
        let mut stored = mem::take(&mut self.stored);
        let result = self.read_stored(location, 0..shape.cols.into(), &mut stored);
        let (rows, cols) = (shape.rows as usize, shape.cols as usize);
        let matrix = result.map(|()| {
            let mut values = Vec::with_capacity(stored.values.len());
            for row in 0..rows {
                values.extend((0..cols).map(|col| stored.values[col * rows + row]));
            }
            TransposedMatrix {
                tensor: location.tensor.clone(),
                first_row: location.first_row,
                rows: Rows {
                    cols,
                    values,
                    grids: Vec::new(),
                },
            }
        });
        self.stored = stored;
        matrix
    }
}

/// Replaces `out` by some rows of `stored`, with their grids.
fn gather_rows(stored: &Rows, sources: impl Iterator<Item = usize>, out: &mut Rows) {
    let cols = stored.cols;
    let grids = if stored.values.is_empty() {
        0
    } else {
        stored.grids.len() * cols / stored.values.len()
    };
    out.cols = cols;
    out.values.clear();
    out.grids.clear();
    for row in sources {
        out.values.extend(&stored.values[row * cols..][..cols]);
        out.grids.extend(&stored.grids[row * grids..][..grids]);
    }
}

fn widen(rows: &Range<u32>) -> Range<u64> {
    rows.start.into()..rows.end.into()
}

fn label(id: TensorId) -> String {
    format!("{:?} of layer {}", id.role, id.layer)
}
