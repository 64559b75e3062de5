//! One layer's tensors, taken from the table in file order.

use crate::EngineError;
use crate::blob::{Attention, Blob, ModelConfig, Role, Tensor, Tensors};
use crate::quant::Matrix;

/// All tensors of one layer.
pub(super) struct Layer<'a> {
    pub(super) attention_norm: &'a [f32],
    pub(super) attention: AttentionTensors<'a>,
    pub(super) output: Matrix<'a>,
    pub(super) output_bias: &'a [f32],
    pub(super) mlp_norm: &'a [f32],
    pub(super) mlp: MlpTensors<'a>,
}

pub(super) enum AttentionTensors<'a> {
    Mla(MlaTensors<'a>),
    Gqa(GqaTensors<'a>),
}

pub(super) struct MlaTensors<'a> {
    pub(super) query: QueryTensors<'a>,
    pub(super) kv_a: Matrix<'a>,
    pub(super) kv_a_bias: &'a [f32],
    pub(super) kv_a_norm: &'a [f32],
    pub(super) key_up: Tensor<'a>,
    pub(super) value_up: Tensor<'a>,
}

/// Queries projected directly, or through a compressed form.
pub(super) enum QueryTensors<'a> {
    Direct(Matrix<'a>),
    Compressed {
        down: Matrix<'a>,
        down_bias: &'a [f32],
        norm: &'a [f32],
        up: Matrix<'a>,
    },
}

pub(super) struct GqaTensors<'a> {
    pub(super) query: Matrix<'a>,
    pub(super) key: Matrix<'a>,
    pub(super) value: Matrix<'a>,
    pub(super) query_bias: &'a [f32],
    pub(super) key_bias: &'a [f32],
    pub(super) value_bias: &'a [f32],
    /// Empty without norms.
    pub(super) query_norm: &'a [f32],
    pub(super) key_norm: &'a [f32],
}

#[cfg_attr(
    target_pointer_width = "64",
    expect(
        clippy::large_enum_variant,
        reason = "without a heap there is no box to put it in"
    )
)]
pub(super) enum MlpTensors<'a> {
    Dense(Gated<'a>),
    Experts {
        router: Matrix<'a>,
        router_bias: &'a [f32],
        shared: Option<Gated<'a>>,
        experts: ExpertTensors<'a>,
    },
}

/// The routed experts of one layer.
pub(super) struct ExpertTensors<'a> {
    pub(super) gate: Tensor<'a>,
    pub(super) up: Tensor<'a>,
    pub(super) down: Tensor<'a>,
    /// Layers with experts that come before this one.
    pub(super) moe_layer: usize,
}

/// A gated MLP; biases are empty where there are none.
#[derive(Clone, Copy)]
pub(super) struct Gated<'a> {
    pub(super) gate: Matrix<'a>,
    pub(super) up: Matrix<'a>,
    pub(super) down: Matrix<'a>,
    pub(super) gate_bias: &'a [f32],
    pub(super) up_bias: &'a [f32],
    pub(super) down_bias: &'a [f32],
}

impl<'a> Layer<'a> {
    /// Looks the tensors of layer `index` up.
    pub(super) fn new(blob: &Blob<'a>, index: usize) -> Result<Self, EngineError> {
        let config = &blob.manifest().config;
        let tensors = &mut blob.layer_tensors(index);
        if blob.layer_kind(index).is_mtp() {
            // These were taken when the session began.
            for role in Role::MTP {
                tensor(tensors, role)?;
            }
        }
        Ok(Self {
            attention_norm: vector(tensors, Role::AttentionNorm),
            attention: AttentionTensors::take(config, tensors)?,
            output: matrix(tensors, Role::Output)?,
            output_bias: vector(tensors, Role::OutputBias),
            mlp_norm: vector(tensors, Role::MlpNorm),
            mlp: if blob.layer_kind(index).is_moe() {
                MlpTensors::take_experts(tensors, blob.moe_layers(index))?
            } else {
                MlpTensors::take_dense(tensors)?
            },
        })
    }
}

impl<'a> AttentionTensors<'a> {
    fn take(config: &ModelConfig, tensors: &mut Tensors<'a>) -> Result<Self, EngineError> {
        match config.attention {
            Attention::Mla(mla) => Ok(Self::Mla(MlaTensors {
                query: match mla.q_lora_rank {
                    None => QueryTensors::Direct(matrix(tensors, Role::Query)?),
                    Some(_) => QueryTensors::Compressed {
                        down: matrix(tensors, Role::QueryA)?,
                        down_bias: vector(tensors, Role::QueryABias),
                        norm: vector(tensors, Role::QueryANorm),
                        up: matrix(tensors, Role::QueryB)?,
                    },
                },
                kv_a: matrix(tensors, Role::KvA)?,
                kv_a_bias: vector(tensors, Role::KvABias),
                kv_a_norm: vector(tensors, Role::KvANorm),
                key_up: tensor(tensors, Role::KeyUp)?,
                value_up: tensor(tensors, Role::ValueUp)?,
            })),
            Attention::Gqa(_) => Ok(Self::Gqa(GqaTensors {
                query: matrix(tensors, Role::Query)?,
                key: matrix(tensors, Role::Key)?,
                value: matrix(tensors, Role::Value)?,
                query_bias: vector(tensors, Role::QueryBias),
                key_bias: vector(tensors, Role::KeyBias),
                value_bias: vector(tensors, Role::ValueBias),
                query_norm: vector(tensors, Role::QueryNorm),
                key_norm: vector(tensors, Role::KeyNorm),
            })),
        }
    }
}

impl<'a> MlpTensors<'a> {
    fn take_dense(tensors: &mut Tensors<'a>) -> Result<Self, EngineError> {
        let dense = Gated::take(
            tensors,
            [Role::Gate, Role::Up, Role::Down],
            [Role::GateBias, Role::UpBias, Role::DownBias],
        )?;
        Ok(Self::Dense(dense.ok_or(EngineError::MissingTensor)?))
    }

    fn take_experts(tensors: &mut Tensors<'a>, moe_layer: usize) -> Result<Self, EngineError> {
        Ok(Self::Experts {
            router: matrix(tensors, Role::Router)?,
            router_bias: vector(tensors, Role::RouterBias),
            shared: Gated::take(
                tensors,
                [Role::SharedGate, Role::SharedUp, Role::SharedDown],
                [
                    Role::SharedGateBias,
                    Role::SharedUpBias,
                    Role::SharedDownBias,
                ],
            )?,
            experts: ExpertTensors {
                gate: tensor(tensors, Role::ExpertGate)?,
                up: tensor(tensors, Role::ExpertUp)?,
                down: tensor(tensors, Role::ExpertDown)?,
                moe_layer,
            },
        })
    }
}

impl<'a> Gated<'a> {
    /// `None` if the layer has no such MLP.
    fn take(
        tensors: &mut Tensors<'a>,
        weights: [Role; 3],
        biases: [Role; 3],
    ) -> Result<Option<Self>, EngineError> {
        let Some(gate) = tensors.take(weights[0]) else {
            return Ok(None);
        };
        Ok(Some(Self {
            gate: gate.matrix(0).ok_or(EngineError::MissingTensor)?,
            up: matrix(tensors, weights[1])?,
            down: matrix(tensors, weights[2])?,
            gate_bias: vector(tensors, biases[0]),
            up_bias: vector(tensors, biases[1]),
            down_bias: vector(tensors, biases[2]),
        }))
    }

    /// One routed expert, in the file.
    pub(super) fn mapped(tensors: &ExpertTensors<'a>, expert: u32) -> Result<Self, EngineError> {
        Self::expert(tensors, |tensor| tensor.matrix(expert as usize))
    }

    /// One routed expert, in a copy of its bytes.
    pub(super) fn in_slot(
        tensors: &ExpertTensors<'_>,
        bytes: &'a [u8],
    ) -> Result<Self, EngineError> {
        Self::expert(tensors, |tensor| tensor.matrix_in(bytes, &tensors.gate))
    }

    fn expert<'t>(
        tensors: &ExpertTensors<'t>,
        matrix: impl Fn(&Tensor<'t>) -> Option<Matrix<'a>>,
    ) -> Result<Self, EngineError> {
        let matrix = |tensor| matrix(tensor).ok_or(EngineError::MissingTensor);
        Ok(Self {
            gate: matrix(&tensors.gate)?,
            up: matrix(&tensors.up)?,
            down: matrix(&tensors.down)?,
            gate_bias: &[],
            up_bias: &[],
            down_bias: &[],
        })
    }

    /// Bytes of the three matrices.
    pub(super) const fn bytes(&self) -> u64 {
        (self.gate.bytes().len() + self.up.bytes().len() + self.down.bytes().len()) as u64
    }

    /// Bytes of the biases.
    pub(super) const fn bias_bytes(&self) -> u64 {
        (size_of_val(self.gate_bias) + size_of_val(self.up_bias) + size_of_val(self.down_bias))
            as u64
    }
}

fn tensor<'a>(tensors: &mut Tensors<'a>, role: Role) -> Result<Tensor<'a>, EngineError> {
    tensors.take(role).ok_or(EngineError::MissingTensor)
}

fn matrix<'a>(tensors: &mut Tensors<'a>, role: Role) -> Result<Matrix<'a>, EngineError> {
    tensor(tensors, role)?
        .matrix(0)
        .ok_or(EngineError::MissingTensor)
}

/// The vector, or an empty one where the model has none.
fn vector<'a>(tensors: &mut Tensors<'a>, role: Role) -> &'a [f32] {
    tensors.take(role).map_or(&[], |tensor| tensor.vector())
}
