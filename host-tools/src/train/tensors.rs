//! Between the model and the tensors of its checkpoint.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::model::{Model, ModelShape};

/// A tensor's dimensions and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Outermost first.
    pub dims: Vec<usize>,
    /// In C order.
    pub numbers: Vec<f32>,
}

/// Tensors by the names that Hugging Face gives them.
pub type Tensors = BTreeMap<String, Values>;

/// A checkpoint does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A tensor is not there.
    #[error("tensor {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor has other dimensions.
    #[error("tensor {name} is {found:?}, the recipe's model needs {expected:?}")]
    Dims {
        /// Its name.
        name: String,
        /// What the recipe's model has.
        expected: Vec<usize>,
        /// What the checkpoint has.
        found: Vec<usize>,
    },
}

/// The model's tensors.
pub fn export<B: Backend>(model: &Model<B>, shape: &ModelShape) -> Tensors {
    let mut export = Export {
        path: Path::default(),
        tensors: Tensors::new(),
    };
    model.visit(&mut export);
    split_experts(export.tensors, shape)
}

/// The model with the numbers of `tensors`.
///
/// # Errors
/// If one is missing or has other dimensions; which one is named.
pub fn import<B: Backend>(
    model: Model<B>,
    tensors: &Tensors,
    shape: &ModelShape,
) -> Result<Model<B>, TensorError> {
    let mut import = Import {
        path: Path::default(),
        tensors,
        shape,
        failed: None,
    };
    let model = model.map(&mut import);
    match import.failed {
        None => Ok(model),
        Some(error) => Err(error),
    }
}

/// The position of a walk through the model.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    /// As in the checkpoint: without the names of variants, and with the
    /// prefix that all tensors but the head have.
    fn name(&self) -> String {
        let is_field = |part: &&str| !part.starts_with(char::is_uppercase);
        let parts: Vec<&str> = self.0.iter().map(String::as_str).filter(is_field).collect();
        let path = parts.join(".");
        if path.starts_with("lm_head") {
            path
        } else {
            format!("model.{path}")
        }
    }
}

struct Export {
    path: Path,
    tensors: Tensors,
}

impl<B: Backend> ModuleVisitor<B> for Export {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let data = param.val().into_data();
        let values = Values {
            dims: data.shape.to_vec(),
            numbers: data.iter::<f32>().collect(),
        };
        self.tensors.insert(self.path.name(), values);
    }
}

struct Import<'a> {
    path: Path,
    tensors: &'a Tensors,
    shape: &'a ModelShape,
    failed: Option<TensorError>,
}

impl Import<'_> {
    fn find(&self, name: &str, expected: &[usize]) -> Result<Vec<f32>, TensorError> {
        if let Some((layer, matrix)) = name.split_once(".mlp.experts.") {
            return self.join_experts(layer, matrix, expected);
        }
        let missing = || TensorError::Missing { name: name.into() };
        let values = self.tensors.get(name).ok_or_else(missing)?;
        if values.dims != expected {
            return Err(TensorError::Dims {
                name: name.into(),
                expected: expected.to_vec(),
                found: values.dims.clone(),
            });
        }
        Ok(values.numbers.clone())
    }

    /// One expert after the other: below each other, or for the matrix that
    /// leads back, side by side.
    fn join_experts(
        &self,
        layer: &str,
        matrix: &str,
        dims: &[usize],
    ) -> Result<Vec<f32>, TensorError> {
        let experts = self.shape.n_routed_experts;
        let (hidden, width) = (self.shape.hidden_size, self.shape.moe_intermediate_size);
        let beside = matrix.starts_with("down");
        let one = if beside {
            [hidden, width]
        } else {
            [width, hidden]
        };
        let mut joined = Vec::with_capacity(dims.iter().product());
        let mut all = Vec::with_capacity(experts);
        for expert in 0..experts {
            let name = format!("{layer}.mlp.experts.{expert}.{matrix}");
            // The name has no `.mlp.experts.` of a joined tensor any more.
            let missing = || TensorError::Missing { name: name.clone() };
            let values = self.tensors.get(&name).ok_or_else(missing)?;
            if values.dims != one {
                return Err(TensorError::Dims {
                    name,
                    expected: one.to_vec(),
                    found: values.dims.clone(),
                });
            }
            all.push(&values.numbers);
        }
        if beside {
            for row in 0..hidden {
                for numbers in &all {
                    joined.extend_from_slice(&numbers[row * width..(row + 1) * width]);
                }
            }
        } else {
            all.iter()
                .for_each(|numbers| joined.extend_from_slice(numbers));
        }
        Ok(joined)
    }
}

impl<B: Backend> ModuleMapper<B> for Import<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let dims: [usize; D] = param.val().dims();
        match self.find(&self.path.name(), &dims) {
            Ok(numbers) => {
                let learns = param.val().is_require_grad();
                let device = param.val().device();
                let values = Tensor::from_data(TensorData::new(numbers, dims), &device);
                param.map(|_| values).set_require_grad(learns)
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                param
            }
        }
    }
}

/// The joined experts as the single ones of the checkpoint.
fn split_experts(tensors: Tensors, shape: &ModelShape) -> Tensors {
    let (hidden, width) = (shape.hidden_size, shape.moe_intermediate_size);
    let mut split = Tensors::new();
    for (name, values) in tensors {
        let Some((layer, matrix)) = name.split_once(".mlp.experts.") else {
            split.insert(name, values);
            continue;
        };
        for expert in 0..shape.n_routed_experts {
            let one = if matrix.starts_with("down") {
                let row = |row: &[f32]| row[expert * width..(expert + 1) * width].to_vec();
                let rows = values.numbers.chunks(shape.n_routed_experts * width);
                Values {
                    dims: vec![hidden, width],
                    numbers: rows.flat_map(row).collect(),
                }
            } else {
                let size = width * hidden;
                Values {
                    dims: vec![width, hidden],
                    numbers: values.numbers[expert * size..(expert + 1) * size].to_vec(),
                }
            };
            split.insert(format!("{layer}.mlp.experts.{expert}.{matrix}"), one);
        }
    }
    split
}
