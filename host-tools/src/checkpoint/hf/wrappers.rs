//! Tensor names as other programs leave them: with the names of modules around
//! the model, or without the model's own.
//!
//! `torch.compile` adds `_orig_mod.`, data parallelism `module.`, a model with
//! other inputs `language_model.`; a bare backbone lacks `model.`. All of them
//! mean the tensors that are called `model.…` and `lm_head.weight` here.

/// Modules that wrap others anywhere in a model and compute nothing.
const WRAPPERS: [&str; 3] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];
/// A tensor that every supported model has exactly once.
const LANDMARK: &str = "layers.0.input_layernorm.weight";
/// The backbone's name.
const BACKBONE: &str = "model.";
const HEAD: &str = "lm_head.weight";
/// The backbone's own parts.
const PARTS: [&str; 4] = ["layers.", "embed_tokens.", "norm.", "rotary_emb."];

/// How the names of one checkpoint become those that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrappers {
    /// The prefix of the backbone's parts.
    before: String,
}

impl Wrappers {
    /// Derives from all names how they are wrapped. Where that is ambiguous, the
    /// names are taken as they are.
    pub(super) fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut found: Vec<String> = names.into_iter().filter_map(before_landmark).collect();
        found.sort_unstable();
        found.dedup();
        let before = match found.as_slice() {
            [only] => only.clone(),
            _ => BACKBONE.to_owned(),
        };
        Self { before }
    }

    /// The name that the tensor `name` is looked for by.
    pub(super) fn canonical(&self, name: &str) -> String {
        let bare = unwrapped(name);
        if let Some(part) = bare.strip_prefix(&self.before)
            && PARTS.iter().any(|known| part.starts_with(known))
        {
            return format!("{BACKBONE}{part}");
        }
        match bare.strip_suffix(HEAD) {
            Some(around) if self.before.starts_with(around) => HEAD.to_owned(),
            _ => bare,
        }
    }
}

fn before_landmark(name: &str) -> Option<String> {
    let before = unwrapped(name).strip_suffix(LANDMARK)?.to_owned();
    (before.is_empty() || before.ends_with('.')).then_some(before)
}

fn unwrapped(name: &str) -> String {
    WRAPPERS
        .iter()
        .fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(before: &str, head: &str) -> [String; 3] {
        let names = [
            format!("{before}layers.0.input_layernorm.weight"),
            format!("{before}embed_tokens.weight"),
            head.to_owned(),
        ];
        let wrappers = Wrappers::detect(names.iter().map(String::as_str));
        names.map(|name| wrappers.canonical(&name))
    }

    #[test]
    fn wrapped_and_bare_models_are_the_same_model() {
        for (before, head) in [
            ("model.", "lm_head.weight"),
            ("", "lm_head.weight"),
            ("language_model.model.", "language_model.lm_head.weight"),
            ("model.language_model.", "lm_head.weight"),
            ("_orig_mod.model.", "_orig_mod.lm_head.weight"),
            ("module.model.", "module.lm_head.weight"),
            ("module._orig_mod.model.", "module._orig_mod.lm_head.weight"),
            ("transformer.", "lm_head.weight"),
            ("model.model.", "model.lm_head.weight"),
            ("base_model.model.model.", "base_model.model.lm_head.weight"),
        ] {
            let expected = [
                "model.layers.0.input_layernorm.weight",
                "model.embed_tokens.weight",
                "lm_head.weight",
            ];
            assert_eq!(renamed(before, head), expected, "{before}");
        }
        let inside = "model.layers.0._orig_mod.input_layernorm.weight";
        let wrappers = Wrappers::detect([inside]);
        let expected = "model.layers.0.input_layernorm.weight";
        assert_eq!(wrappers.canonical(inside), expected);
    }

    #[test]
    fn other_names_stay() {
        let names = [
            "language_model.model.layers.0.input_layernorm.weight",
            "vision_tower.layers.0.norm.weight",
            "language_model.model.layers.0.self_attn.q_proj.lora_A.weight",
        ];
        let wrappers = Wrappers::detect(names);
        assert_eq!(wrappers.canonical(names[1]), names[1]);
        let adapter = "model.layers.0.self_attn.q_proj.lora_A.weight";
        assert_eq!(wrappers.canonical(names[2]), adapter);
        // Two backbones: neither is taken for the other.
        let two = [LANDMARK, "draft.layers.0.input_layernorm.weight"];
        assert_eq!(Wrappers::detect(two).canonical(LANDMARK), LANDMARK);
    }
}
