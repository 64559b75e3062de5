//! Folders whose tokenizer is not in `tokenizer.json`.

use std::path::Path;

use crate::checkpoint::{ImportError, locate};

/// Files that hold a tokenizer in another form, and what they are. Names that
/// begin with a dot are endings.
const FORMS: [(&str, &str); 8] = [
    ("tokenizer.model", "a SentencePiece or tiktoken model"),
    ("tokenizer.model.v3", "a SentencePiece model"),
    ("spiece.model", "a SentencePiece model"),
    ("sentencepiece.bpe.model", "a SentencePiece model"),
    ("tekken.json", "Mistral's Tekken"),
    ("vocab.json", "a vocabulary with merges.txt"),
    ("vocab.txt", "a WordPiece vocabulary"),
    (".tiktoken", "tiktoken's ranks"),
];

/// Refuses a folder that has a tokenizer, but in none of the forms that are
/// read; one that has none at all is no error.
pub(super) fn refuse(folder: &Path) -> Result<(), ImportError> {
    let names = locate::names(folder);
    let is_called = |name: &String, form: &str| match form.starts_with('.') {
        true => name.ends_with(form),
        false => name == form,
    };
    for (form, what) in FORMS {
        if let Some(name) = names.iter().find(|name| is_called(name, form)) {
            return Err(ImportError::Malformed {
                path: folder.to_owned(),
                what: format!(
                    "has no tokenizer.json but only {name} ({what}), which is not read: \
                     convert it with transformers, \
                     `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)`, or leave \
                     the tokenizer out with `pack --no-tokenizer`"
                ),
            });
        }
    }
    Ok(())
}
