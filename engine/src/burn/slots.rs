//! Experts of a model that is larger than the device's memory: slots on the
//! device, filled with what tokens choose.
//!
//! Here the choice must be known on the host, so each layer with experts waits
//! for the device once per batch. Results are those of resident experts, to the
//! bit: experts are added in ascending order either way.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use burn::tensor::{Int, Tensor, TensorData};
use bytemuck::Zeroable;

use super::backend::{Activation, DecoderBackend, Routing};
use crate::EngineError;
use crate::blob::{self, Blob, Role};
use crate::execute::StorageTraffic;
use crate::execute::slots::{Slot, SlotTable, expert_offset, share};
use crate::quant::Matrix;
use crate::storage::{BlockStorage, check_file, read};

/// Which experts are on the device, and where the others come from.
pub(super) struct ExpertSlots<'a> {
    /// `None`: the mapped file.
    storage: Option<&'a mut dyn BlockStorage>,
    layers: Vec<LayerSlots<'a>>,
    payload_offset: u64,
    /// The bytes of one expert that was read from storage.
    expert: Vec<u8>,
}

/// The slots of one layer with experts.
#[derive(Debug)]
struct LayerSlots<'a> {
    /// Gate, up and down of all experts in the file.
    tensors: [blob::Tensor<'a>; 3],
    table: SlotTable<Vec<Slot>>,
}

/// What to compute with the experts of one layer.
pub(super) struct Mixture<'m, B: DecoderBackend> {
    /// Gate, up and down of the experts in the slots.
    pub(super) matrices: [&'m mut B::Matrices; 3],
    pub(super) input: &'m Activation<B>,
    pub(super) routing: Routing<B>,
}

/// Slots of layer number `moe_layer` among those with experts, if `slots` are
/// shared out: at least one, at most one for each expert.
pub(super) fn slots_of_layer(blob: &Blob<'_>, moe_layer: usize, slots: u32) -> usize {
    let layers = blob.moe_layers(usize::MAX);
    let experts = blob.manifest().config.moe.map_or(0, |moe| moe.num_experts);
    let share = share(moe_layer, layers, (slots as usize).max(layers));
    share.len().min(experts as usize)
}

impl<'a> ExpertSlots<'a> {
    /// Empty slots for the experts of `blob`, to be filled from `storage`, or
    /// from the file if there is none.
    ///
    /// # Errors
    /// If the experts are neither in the file nor in the storage.
    pub(super) fn new(
        blob: &Blob<'a>,
        mut storage: Option<&'a mut dyn BlockStorage>,
        slots: u32,
    ) -> Result<Self, EngineError> {
        if storage.is_none() && blob.lacks_experts() {
            return Err(EngineError::NoExperts);
        }
        let layers = 0..blob.manifest().config.num_hidden_layers as usize;
        let layers = layers.filter(|layer| blob.layer_kind(*layer).is_moe());
        let layers = layers.enumerate().map(|(moe_layer, layer)| {
            let find = |role| {
                let mut tensors = blob.layer_tensors(layer);
                let tensor = tensors.find(|tensor| tensor.record().role == role);
                let layer = layer as u16;
                tensor.ok_or(EngineError::MissingTensor { role, layer })
            };
            Ok(LayerSlots {
                tensors: [
                    find(Role::ExpertGate)?,
                    find(Role::ExpertUp)?,
                    find(Role::ExpertDown)?,
                ],
                table: {
                    let slots = slots_of_layer(blob, moe_layer, slots);
                    SlotTable::new(vec![Slot::zeroed(); slots], 1)
                },
            })
        });
        if let Some(storage) = storage.as_mut() {
            check_file(&mut **storage, blob)?;
        }
        Ok(Self {
            storage,
            layers: layers.collect::<Result<_, EngineError>>()?,
            payload_offset: blob.payload_offset(),
            expert: Vec::new(),
        })
    }

    /// What it has cost so far.
    pub(super) fn traffic(&self) -> StorageTraffic {
        let layers = self.layers.iter().map(|layer| layer.table.traffic());
        layers.fold(StorageTraffic::default(), |sum, layer| sum.plus(&layer))
    }

    /// `residual + sum of the chosen experts' outputs`, for layer
    /// number `moe_layer` among those with experts.
    ///
    /// Experts are taken in ascending order, as many at a time as the slots hold.
    pub(super) fn mixture<B: DecoderBackend>(
        &mut self,
        moe_layer: usize,
        mut mixture: Mixture<'_, B>,
        mut residual: Tensor<B, 2>,
    ) -> Result<Tensor<B, 2>, EngineError> {
        let chosen = mixture.routing.experts.clone().try_into_data();
        let chosen = chosen.map_err(|_| EngineError::DeviceFailed)?;
        let chosen: Vec<u32> = chosen.iter::<u32>().collect();
        let mut needed = chosen.clone();
        needed.sort_unstable();
        needed.dedup();
        let mut ready = Vec::new();
        for (i, expert) in needed.iter().enumerate() {
            let later = &needed[i + 1..];
            let is_later = |expert| later.binary_search(&expert).is_ok();
            let table = &mut self.layers[moe_layer].table;
            let (slot, is_there) = table.slot_for(0, *expert, is_later);
            if is_there {
                table.reuse(slot);
            } else {
                if ready.iter().any(|(_, taken)| *taken == slot) {
                    residual = mixture.add(&chosen, &ready, residual);
                    ready.clear();
                }
                self.fill::<B>(moe_layer, *expert, slot, &mut mixture.matrices)?;
            }
            ready.push((*expert, slot));
        }
        Ok(mixture.add(&chosen, &ready, residual))
    }

    /// Brings one expert's matrices to the device.
    fn fill<B: DecoderBackend>(
        &mut self,
        moe_layer: usize,
        expert: u32,
        slot: usize,
        matrices: &mut [&mut B::Matrices; 3],
    ) -> Result<(), EngineError> {
        let LayerSlots { tensors, table } = &mut self.layers[moe_layer];
        let gate = tensors[0].record();
        table.refill(slot, [0, expert], gate.stride, || {
            if let Some(storage) = &mut self.storage {
                let bytes = usize::try_from(gate.stride).map_err(|_| EngineError::PlanTooLarge)?;
                self.expert.resize(bytes, 0);
                let offset = expert_offset(self.payload_offset, gate, expert);
                read(&mut **storage, offset, &mut self.expert)?;
            }
            for (matrices, tensor) in matrices.iter_mut().zip(tensors.iter()) {
                let matrix: Option<Matrix<'_>> = match &self.storage {
                    Some(_) => tensor.matrix_in(&self.expert, &tensors[0]),
                    None => tensor.matrix(expert as usize),
                };
                let matrix = matrix.ok_or(EngineError::missing(tensor.record()))?;
                B::fill(matrices, slot, &matrix)?;
            }
            Ok(())
        })
    }
}

impl fmt::Debug for ExpertSlots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpertSlots")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}

impl<B: DecoderBackend> Mixture<'_, B> {
    /// Adds those of the `chosen` experts that are `ready`: numbers of experts
    /// and of their slots.
    fn add(&self, chosen: &[u32], ready: &[(u32, usize)], residual: Tensor<B, 2>) -> Tensor<B, 2> {
        let place = |expert: &u32| match ready.binary_search_by_key(expert, |(ready, _)| *ready) {
            Ok(index) => ready[index].1 as i32,
            Err(_) => -1,
        };
        let places: Vec<i32> = chosen.iter().map(place).collect();
        let data = TensorData::new(places, self.routing.experts.dims());
        let routing = Routing {
            experts: Tensor::<B, 2, Int>::from_data(data, &residual.device()),
            weights: self.routing.weights.clone(),
        };
        let [gate, up, down] = &self.matrices;
        B::experts([gate, up, down], self.input, &routing, residual)
    }
}
