//! A layer's tensors on the device.

use alloc::boxed::Box;

use burn::tensor::{Int, Tensor, TensorData};

use super::backend::{Activation, DecoderBackend};
use super::slots::slots_of_layer;
use crate::EngineError;
use crate::blob::{self, Attention, Blob, Gqa, Mla, ModelConfig, Moe, Role, TensorRecord, Tensors};

/// A matrix and its bias.
#[derive(Debug)]
pub(super) struct Projection<B: DecoderBackend> {
    matrices: B::Matrices,
    /// `[1, rows]`.
    bias: Option<Tensor<B, 2>>,
    /// Bytes on the device.
    pub(super) bytes: u64,
}

impl<B: DecoderBackend> Projection<B> {
    /// The rows that `ids` name.
    pub(super) fn rows(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        B::embed(&self.matrices, ids)
    }

    /// `matrix * input + bias`.
    pub(super) fn apply(&self, input: &Activation<B>) -> Tensor<B, 2> {
        let product = B::project(&self.matrices, input);
        match &self.bias {
            Some(bias) => product + bias.clone(),
            None => product,
        }
    }
}

/// Several matrices of one shape: one per head, or one per expert.
#[derive(Debug)]
pub(super) struct Matrices<B: DecoderBackend> {
    pub(super) matrices: B::Matrices,
    /// Bytes of all of them on the device.
    pub(super) bytes: u64,
    pub(super) count: u64,
}

/// All tensors of one layer.
#[derive(Debug)]
pub(super) struct Layer<B: DecoderBackend> {
    pub(super) attention_norm: Tensor<B, 1>,
    pub(super) attention: AttentionTensors<B>,
    pub(super) output: Projection<B>,
    pub(super) mlp_norm: Tensor<B, 1>,
    pub(super) mlp: MlpTensors<B>,
}

#[derive(Debug)]
pub(super) enum AttentionTensors<B: DecoderBackend> {
    Mla(Box<MlaTensors<B>>),
    Gqa(Box<GqaTensors<B>>),
}

#[derive(Debug)]
pub(super) struct MlaTensors<B: DecoderBackend> {
    pub(super) dims: Mla,
    pub(super) query: QueryTensors<B>,
    pub(super) kv_a: Projection<B>,
    pub(super) kv_a_norm: Tensor<B, 1>,
    pub(super) key_up: Matrices<B>,
    pub(super) value_up: Matrices<B>,
}

/// Queries projected directly, or through a compressed form.
#[derive(Debug)]
pub(super) enum QueryTensors<B: DecoderBackend> {
    Direct(Projection<B>),
    Compressed {
        down: Projection<B>,
        norm: Tensor<B, 1>,
        up: Projection<B>,
    },
}

#[derive(Debug)]
pub(super) struct GqaTensors<B: DecoderBackend> {
    pub(super) dims: Gqa,
    pub(super) query: Projection<B>,
    pub(super) key: Projection<B>,
    pub(super) value: Projection<B>,
    pub(super) query_norm: Option<Tensor<B, 1>>,
    pub(super) key_norm: Option<Tensor<B, 1>>,
}

#[derive(Debug)]
pub(super) enum MlpTensors<B: DecoderBackend> {
    Dense(Gated<B>),
    Experts(Box<Experts<B>>),
}

#[derive(Debug)]
pub(super) struct Experts<B: DecoderBackend> {
    pub(super) moe: Moe,
    pub(super) router: Projection<B>,
    pub(super) router_bias: Option<Tensor<B, 1>>,
    pub(super) shared: Option<Gated<B>>,
    pub(super) gate: Matrices<B>,
    pub(super) up: Matrices<B>,
    pub(super) down: Matrices<B>,
    /// Its number among the layers with experts.
    pub(super) moe_layer: usize,
}

#[derive(Debug)]
pub(super) struct Gated<B: DecoderBackend> {
    pub(super) gate: Projection<B>,
    pub(super) up: Projection<B>,
    pub(super) down: Projection<B>,
}

/// Takes tensors in file order and brings them to the device.
pub(super) struct Loader<'t, 'a, B: DecoderBackend> {
    tensors: Tensors<'a>,
    layer: u16,
    device: &'t B::Device,
}

impl<'t, 'a, B: DecoderBackend> Loader<'t, 'a, B> {
    /// For the tensors that belong to no layer.
    pub(super) fn model(blob: &Blob<'a>, device: &'t B::Device) -> Self {
        Self {
            tensors: blob.model_tensors(),
            layer: TensorRecord::MODEL,
            device,
        }
    }

    /// For the tensors of layer `index`.
    fn layer(blob: &Blob<'a>, index: usize, device: &'t B::Device) -> Self {
        Self {
            tensors: blob.layer_tensors(index),
            layer: index as u16,
            device,
        }
    }

    pub(super) const fn missing(&self, role: Role) -> EngineError {
        EngineError::MissingTensor {
            role,
            layer: self.layer,
        }
    }

    fn take(&mut self, role: Role) -> Option<blob::Tensor<'a>> {
        let tensors = &mut self.tensors;
        tensors.take(role)
    }

    /// The vector's numbers, if the model has it; not on the device.
    pub(super) fn numbers(&mut self, role: Role) -> Option<&'a [f32]> {
        Some(self.take(role)?.vector())
    }

    /// The vector, if the model has it.
    pub(super) fn vector(&mut self, role: Role) -> Option<Tensor<B, 1>> {
        let values = self.numbers(role)?;
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Some(Tensor::from_data(data, self.device))
    }

    pub(super) fn norm(&mut self, role: Role) -> Result<Tensor<B, 1>, EngineError> {
        self.vector(role).ok_or(self.missing(role))
    }

    /// The matrix, if the model has it; without a bias.
    pub(super) fn optional(&mut self, role: Role) -> Result<Option<Projection<B>>, EngineError> {
        let Some(tensor) = self.take(role) else {
            return Ok(None);
        };
        Ok(Some(Projection {
            matrices: B::load(&tensor, self.device)?,
            bias: None,
            bytes: B::matrix_bytes(tensor.record()),
        }))
    }

    pub(super) fn matrix(&mut self, role: Role) -> Result<Projection<B>, EngineError> {
        self.optional(role)?.ok_or(self.missing(role))
    }

    /// Adds the bias that comes next in the file, if the model has it.
    fn bias(&mut self, projection: &mut Projection<B>, role: Role) {
        projection.bias = self.vector(role).map(Tensor::unsqueeze);
        let rows = projection.bias.as_ref().map_or(0, |bias| bias.dims()[1]);
        projection.bytes += rows as u64 * 4;
    }

    fn matrices(&mut self, role: Role) -> Result<Matrices<B>, EngineError> {
        let tensor = self.take(role).ok_or(self.missing(role))?;
        Ok(Matrices {
            matrices: B::load(&tensor, self.device)?,
            bytes: B::matrix_bytes(tensor.record()),
            count: tensor.record().count.into(),
        })
    }

    /// Room for `slots` of the tensor's matrices; without a number, all of them.
    fn experts(&mut self, role: Role, slots: Option<usize>) -> Result<Matrices<B>, EngineError> {
        let Some(slots) = slots else {
            return self.matrices(role);
        };
        let tensor = self.take(role).ok_or(self.missing(role))?;
        let record = TensorRecord {
            count: slots as u32,
            ..*tensor.record()
        };
        Ok(Matrices {
            matrices: B::slots(&record, slots, self.device),
            bytes: B::matrix_bytes(&record),
            count: slots as u64,
        })
    }

    fn gated(&mut self, roles: [Role; 6]) -> Result<Option<Gated<B>>, EngineError> {
        let [gate, up, down, gate_bias, up_bias, down_bias] = roles;
        let Some(gate) = self.optional(gate)? else {
            return Ok(None);
        };
        let mut gated = Gated {
            gate,
            up: self.matrix(up)?,
            down: self.matrix(down)?,
        };
        self.bias(&mut gated.gate, gate_bias);
        self.bias(&mut gated.up, up_bias);
        self.bias(&mut gated.down, down_bias);
        Ok(Some(gated))
    }

    fn attention(&mut self, config: &ModelConfig) -> Result<AttentionTensors<B>, EngineError> {
        match config.attention {
            Attention::Mla(dims) => {
                let query = match dims.q_lora_rank {
                    None => QueryTensors::Direct(self.matrix(Role::Query)?),
                    Some(_) => {
                        let mut down = self.matrix(Role::QueryA)?;
                        self.bias(&mut down, Role::QueryABias);
                        QueryTensors::Compressed {
                            down,
                            norm: self.norm(Role::QueryANorm)?,
                            up: self.matrix(Role::QueryB)?,
                        }
                    }
                };
                let mut kv_a = self.matrix(Role::KvA)?;
                self.bias(&mut kv_a, Role::KvABias);
                Ok(AttentionTensors::Mla(Box::new(MlaTensors {
                    dims,
                    query,
                    kv_a,
                    kv_a_norm: self.norm(Role::KvANorm)?,
                    key_up: self.matrices(Role::KeyUp)?,
                    value_up: self.matrices(Role::ValueUp)?,
                })))
            }
            Attention::Gqa(dims) => {
                let mut query = self.matrix(Role::Query)?;
                let mut key = self.matrix(Role::Key)?;
                let mut value = self.matrix(Role::Value)?;
                self.bias(&mut query, Role::QueryBias);
                self.bias(&mut key, Role::KeyBias);
                self.bias(&mut value, Role::ValueBias);
                Ok(AttentionTensors::Gqa(Box::new(GqaTensors {
                    dims,
                    query,
                    key,
                    value,
                    query_norm: self.vector(Role::QueryNorm),
                    key_norm: self.vector(Role::KeyNorm),
                })))
            }
        }
    }

    fn dense(&mut self) -> Result<MlpTensors<B>, EngineError> {
        let dense = self.gated([
            Role::Gate,
            Role::Up,
            Role::Down,
            Role::GateBias,
            Role::UpBias,
            Role::DownBias,
        ])?;
        Ok(MlpTensors::Dense(dense.ok_or(self.missing(Role::Gate))?))
    }

    fn mixture(
        &mut self,
        moe: Moe,
        moe_layer: usize,
        slots: Option<usize>,
    ) -> Result<MlpTensors<B>, EngineError> {
        Ok(MlpTensors::Experts(Box::new(Experts {
            moe,
            router: self.matrix(Role::Router)?,
            router_bias: self.vector(Role::RouterBias),
            shared: self.gated([
                Role::SharedGate,
                Role::SharedUp,
                Role::SharedDown,
                Role::SharedGateBias,
                Role::SharedUpBias,
                Role::SharedDownBias,
            ])?,
            gate: self.experts(Role::ExpertGate, slots)?,
            up: self.experts(Role::ExpertUp, slots)?,
            down: self.experts(Role::ExpertDown, slots)?,
            moe_layer,
        })))
    }
}

impl<B: DecoderBackend> Layer<B> {
    /// Brings the tensors of layer `index` to the device; of its experts none,
    /// if they are to share `slots` slots.
    pub(super) fn load(
        blob: &Blob<'_>,
        index: usize,
        slots: u32,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let config = &blob.manifest().config;
        let moe = config.moe.filter(|_| blob.layer_kind(index).is_moe());
        let loader = &mut Loader::<B>::layer(blob, index, device);
        let attention_norm = loader.norm(Role::AttentionNorm)?;
        let attention = loader.attention(config)?;
        let mut output = loader.matrix(Role::Output)?;
        loader.bias(&mut output, Role::OutputBias);
        Ok(Self {
            attention_norm,
            attention,
            output,
            mlp_norm: loader.norm(Role::MlpNorm)?,
            mlp: if let Some(moe) = moe {
                let moe_layer = blob.moe_layers(index);
                let slots = (slots > 0).then(|| slots_of_layer(blob, moe_layer, slots));
                loader.mixture(moe, moe_layer, slots)?
            } else {
                loader.dense()?
            },
        })
    }
}
