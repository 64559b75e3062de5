//! One layer's tensors, with the dimensions that they have.

use crate::EngineError;
use crate::blob::{Attention, Blob, Gqa, Mla, ModelConfig, Moe, Role, Tensor};
use crate::quant::Matrix;

use super::linear::Projection;
use super::lookup::Lookup;

/// All tensors of one layer.
pub(super) struct Layer<'a> {
    pub(super) attention_norm: &'a [f32],
    pub(super) attention: AttentionTensors<'a>,
    pub(super) output: Projection<'a>,
    pub(super) mlp_norm: &'a [f32],
    pub(super) mlp: MlpTensors<'a>,
}

pub(super) enum AttentionTensors<'a> {
    Mla(MlaTensors<'a>),
    Gqa(GqaTensors<'a>),
}

pub(super) struct MlaTensors<'a> {
    pub(super) dims: Mla,
    pub(super) query: QueryTensors<'a>,
    pub(super) kv_a: Projection<'a>,
    pub(super) kv_a_norm: &'a [f32],
    pub(super) key_up: Tensor<'a>,
    pub(super) value_up: Tensor<'a>,
}

/// Queries projected directly, or through a compressed form.
pub(super) enum QueryTensors<'a> {
    Direct(Projection<'a>),
    Compressed {
        down: Projection<'a>,
        norm: &'a [f32],
        up: Projection<'a>,
    },
}

pub(super) struct GqaTensors<'a> {
    pub(super) dims: Gqa,
    pub(super) query: Projection<'a>,
    pub(super) key: Projection<'a>,
    pub(super) value: Projection<'a>,
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
    Experts(MoeTensors<'a>),
}

pub(super) struct MoeTensors<'a> {
    pub(super) moe: Moe,
    pub(super) router: Matrix<'a>,
    /// Corrects the choice; empty if nothing does.
    pub(super) correction: &'a [f32],
    pub(super) shared: Option<Gated<'a>>,
    pub(super) experts: ExpertTensors<'a>,
}

/// The routed experts of one layer.
pub(super) struct ExpertTensors<'a> {
    pub(super) gate: Tensor<'a>,
    pub(super) up: Tensor<'a>,
    pub(super) down: Tensor<'a>,
    /// Its number among the layers with experts.
    pub(super) moe_layer: usize,
}

/// A gated MLP.
#[derive(Clone, Copy)]
pub(super) struct Gated<'a> {
    pub(super) gate: Projection<'a>,
    pub(super) up: Projection<'a>,
    pub(super) down: Projection<'a>,
}

impl<'a> Layer<'a> {
    /// Looks up the tensors of layer `index`.
    pub(super) fn new(blob: &Blob<'a>, index: usize) -> Result<Self, EngineError> {
        let config = &blob.manifest().config;
        let kind = blob.layer_kind(index);
        let tensors = &mut Lookup::layer(blob, index);
        if kind.is_mtp() {
            // These were taken when the session began.
            for role in Role::MTP {
                tensors.tensor(role)?;
            }
        }
        let attention_norm = tensors.vector(Role::AttentionNorm);
        let attention = AttentionTensors::take(config, tensors)?;
        let mut output = tensors.projection(Role::Output)?;
        output.bias = tensors.vector(Role::OutputBias);
        Ok(Self {
            attention_norm,
            attention,
            output,
            mlp_norm: tensors.vector(Role::MlpNorm),
            mlp: match config.moe.filter(|_| kind.is_moe()) {
                Some(moe) => MlpTensors::take_experts(moe, tensors, blob.moe_layers(index))?,
                None => MlpTensors::take_dense(tensors)?,
            },
        })
    }
}

impl<'a> AttentionTensors<'a> {
    fn take(config: &ModelConfig, tensors: &mut Lookup<'a>) -> Result<Self, EngineError> {
        match config.attention {
            Attention::Mla(dims) => Ok(Self::Mla(MlaTensors::take(dims, tensors)?)),
            Attention::Gqa(dims) => Ok(Self::Gqa(GqaTensors::take(dims, tensors)?)),
        }
    }
}

impl<'a> MlaTensors<'a> {
    fn take(dims: Mla, tensors: &mut Lookup<'a>) -> Result<Self, EngineError> {
        let query = match dims.q_lora_rank {
            None => QueryTensors::Direct(tensors.projection(Role::Query)?),
            Some(_) => {
                let mut down = tensors.projection(Role::QueryA)?;
                down.bias = tensors.vector(Role::QueryABias);
                QueryTensors::Compressed {
                    down,
                    norm: tensors.vector(Role::QueryANorm),
                    up: tensors.projection(Role::QueryB)?,
                }
            }
        };
        let mut kv_a = tensors.projection(Role::KvA)?;
        kv_a.bias = tensors.vector(Role::KvABias);
        Ok(Self {
            dims,
            query,
            kv_a,
            kv_a_norm: tensors.vector(Role::KvANorm),
            key_up: tensors.tensor(Role::KeyUp)?,
            value_up: tensors.tensor(Role::ValueUp)?,
        })
    }
}

impl<'a> GqaTensors<'a> {
    fn take(dims: Gqa, tensors: &mut Lookup<'a>) -> Result<Self, EngineError> {
        let mut query = tensors.projection(Role::Query)?;
        let mut key = tensors.projection(Role::Key)?;
        let mut value = tensors.projection(Role::Value)?;
        query.bias = tensors.vector(Role::QueryBias);
        key.bias = tensors.vector(Role::KeyBias);
        value.bias = tensors.vector(Role::ValueBias);
        Ok(Self {
            dims,
            query,
            key,
            value,
            query_norm: tensors.vector(Role::QueryNorm),
            key_norm: tensors.vector(Role::KeyNorm),
        })
    }
}

impl<'a> MlpTensors<'a> {
    fn take_dense(tensors: &mut Lookup<'a>) -> Result<Self, EngineError> {
        let gate = tensors.matrix(Role::Gate)?;
        let others = [Role::Up, Role::Down];
        let biases = [Role::GateBias, Role::UpBias, Role::DownBias];
        Ok(Self::Dense(Gated::take(gate, tensors, others, biases)?))
    }

    fn take_experts(
        moe: Moe,
        tensors: &mut Lookup<'a>,
        moe_layer: usize,
    ) -> Result<Self, EngineError> {
        let router = tensors.matrix(Role::Router)?;
        let correction = tensors.vector(Role::RouterBias);
        let others = [Role::SharedUp, Role::SharedDown];
        let biases = [
            Role::SharedGateBias,
            Role::SharedUpBias,
            Role::SharedDownBias,
        ];
        let shared = match tensors.optional_matrix(Role::SharedGate)? {
            Some(gate) => Some(Gated::take(gate, tensors, others, biases)?),
            None => None,
        };
        Ok(Self::Experts(MoeTensors {
            moe,
            router,
            correction,
            shared,
            experts: ExpertTensors {
                gate: tensors.tensor(Role::ExpertGate)?,
                up: tensors.tensor(Role::ExpertUp)?,
                down: tensors.tensor(Role::ExpertDown)?,
                moe_layer,
            },
        }))
    }
}

impl<'a> Gated<'a> {
    /// The MLP that begins with `gate`.
    fn take(
        gate: Matrix<'a>,
        tensors: &mut Lookup<'a>,
        [up, down]: [Role; 2],
        [gate_bias, up_bias, down_bias]: [Role; 3],
    ) -> Result<Self, EngineError> {
        let mut gated = Self {
            gate: Projection::new(gate),
            up: tensors.projection(up)?,
            down: tensors.projection(down)?,
        };
        gated.gate.bias = tensors.vector(gate_bias);
        gated.up.bias = tensors.vector(up_bias);
        gated.down.bias = tensors.vector(down_bias);
        Ok(gated)
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
        let projection = |tensor: &Tensor<'t>| {
            let matrix = matrix(tensor).map(Projection::new);
            matrix.ok_or(EngineError::missing(tensor.record()))
        };
        Ok(Self {
            gate: projection(&tensors.gate)?,
            up: projection(&tensors.up)?,
            down: projection(&tensors.down)?,
        })
    }

    /// Bytes of matrices and biases.
    pub(super) const fn bytes(&self) -> u64 {
        self.gate.bytes() + self.up.bytes() + self.down.bytes()
    }
}
