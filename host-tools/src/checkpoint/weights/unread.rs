//! Tensors that nothing reads: each is known to change nothing, or refused.

use std::collections::{BTreeMap, HashSet};

use crate::checkpoint::{ImportError, LeftOut, Mapping};

/// Names that a message has at most.
const NAMED: usize = 4;

/// What such a tensor is, by its name, and what a person can do.
struct Kind {
    what: &'static str,
    advice: &'static str,
    is: fn(&str) -> bool,
}

const KINDS: [Kind; 6] = [
    Kind {
        what: "adapters (LoRA)",
        advice: "merge them into the weights first, with peft's `merge_and_unload`",
        is: |name| name.to_ascii_lowercase().contains("lora_"),
    },
    Kind {
        what: "weights quantised by another program (GPTQ, AWQ, bitsandbytes, MLX or the like)",
        advice: "pack the original checkpoint, or a GGUF file of it",
        is: |name| {
            let endings = [
                "qweight",
                "qzeros",
                "g_idx",
                ".scales",
                ".biases",
                ".absmax",
                ".quant_map",
                ".weight_packed",
                ".zeros",
                ".SCB",
                ".weight_format",
            ];
            name.contains(".quant_state.") || endings.iter().any(|ending| name.ends_with(ending))
        },
    },
    Kind {
        what: "factors on the weights or activations beside them",
        advice: "get the model with such factors multiplied into its weights, in BF16 or F16",
        is: |name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            last == "scale" || last.ends_with("_scale") || last.ends_with("_scale_inv")
        },
    },
    Kind {
        what: "biases that the configuration does not announce",
        advice: "if the model has them, say so in config.json (`attention_bias`, `mlp_bias`), or \
                 correct `architectures`",
        is: |name| name.ends_with(".bias"),
    },
    Kind {
        what: "norms that its architecture does not have",
        advice: "correct the architecture that the checkpoint states (`architectures` in \
                 config.json), if it is another one",
        is: |name| name.contains("norm"),
    },
    Kind {
        what: "unknown to its architecture",
        advice: "correct the architecture or the sizes that the checkpoint states, or remove \
                 the tensors if they are left over",
        is: |_| true,
    },
];

/// How many of the first kinds stand in the place of weights.
const KINDS_THAT_REPLACE: usize = 2;

/// Refuses tensors among `names` that are not `used` and cannot be left out of
/// a model of `layers` layers; people are told of some that can.
pub(super) fn check(
    names: Vec<String>,
    used: &HashSet<String>,
    mapping: &dyn Mapping,
    layers: u32,
) -> Result<(), ImportError> {
    let mut unread: Vec<String> = Vec::new();
    let mut told: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for name in names.into_iter().filter(|name| !used.contains(name)) {
        match mapping.left_out(&name, layers) {
            None => unread.push(name),
            Some(LeftOut::Silently) => {}
            Some(LeftOut::Saying(what)) => told.entry(what).or_default().push(name),
        }
    }
    if !unread.is_empty() {
        return Err(refusal(unread));
    }
    for (what, names) in told {
        let count = names.len();
        let first = names.into_iter().min().unwrap_or_default();
        tracing::warn!("{count} tensors are left out, `{first}` first: they belong to {what}");
    }
    Ok(())
}

/// The error for a tensor that is missing: it speaks of what stands in its place,
/// if that is something known (`q_proj.qweight` where `q_proj.weight` should be).
pub(super) fn missing(tensor: String, names: Vec<String>) -> ImportError {
    let module = tensor.strip_suffix("weight").unwrap_or(&tensor);
    let known = &KINDS[..KINDS_THAT_REPLACE];
    let replaces =
        |name: &String| name.starts_with(module) && known.iter().any(|kind| (kind.is)(name));
    let instead: Vec<String> = names.into_iter().filter(replaces).collect();
    if instead.is_empty() {
        return ImportError::MissingTensor { tensor };
    }
    refusal(instead)
}

/// The message speaks of the kind that comes first, and names its tensors first.
fn refusal(mut names: Vec<String>) -> ImportError {
    let kind_of = |name: &str| KINDS.iter().position(|kind| (kind.is)(name));
    names.sort_by_cached_key(|name| (kind_of(name), name.clone()));
    let kind = &KINDS[kind_of(&names[0]).unwrap_or(KINDS.len() - 1)];
    let shown: Vec<String> = names.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
    ImportError::Unread {
        what: kind.what,
        tensors: shown.join(", "),
        others: names.len() - shown.len(),
        advice: kind.advice,
    }
}
