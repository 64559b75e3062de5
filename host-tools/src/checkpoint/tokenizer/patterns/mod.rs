//! Published pre-tokenizer patterns, recognised by their exact text.

use briquette_engine::text::Splitter;

use super::{SplitStep, TokenizerImportError};

/// What error messages list.
const SUPPORTED: &str = "the patterns of GPT-2, Llama 3, Qwen 2, DeepSeek (LLM, Coder, V2, V3), \
     GPT-4o and Tekken, single digits, and plain character classes";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

// DeepSeek's classes are written with escapes: an editor that brings a file to
// NFC would turn ranges round and widen others (U+212A, the Kelvin sign, is a
// plain K in NFC).

/// Letters of the scripts with case, as DeepSeek's first tokenizers list them.
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\
     \u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\
     \u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\
     \u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\
     \u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\
     \u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\
     \u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\
     \u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\
     \u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\
     \u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\
     \u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\
     \u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\
     \u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\
     \u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\
     \u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\
     \u{1e900}-\u{1e943}]+";
const DEEPSEEK_PUNCTUATION: &str =
    "\\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+";
const DEEPSEEK_CJK: &str = "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
const DEEPSEEK_V3_CJK: &str = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
const NEWLINE: &str = r"[\r\n]";
const DIGIT: &str = r"\p{N}";

/// What a GGUF file's `tokenizer.ggml.pre` stands for.
#[derive(Debug, Clone, Copy)]
pub(in crate::checkpoint) struct GgufPreTokenizer {
    names: &'static [&'static str],
    /// One step each, in the models' own spelling.
    patterns: &'static [&'static str],
    /// A piece that is one token is that token, whatever the merges say.
    pub(in crate::checkpoint) ignores_merges: bool,
    /// The models' own tokenizers bring text to NFC (llama.cpp does not).
    pub(in crate::checkpoint) normalizes_nfc: bool,
    /// What `tokenizer.ggml.add_bos_token` means where it is absent.
    pub(in crate::checkpoint) adds_bos: bool,
}

impl GgufPreTokenizer {
    const fn new(names: &'static [&'static str], patterns: &'static [&'static str]) -> Self {
        Self {
            names,
            patterns,
            ignores_merges: false,
            normalizes_nfc: false,
            adds_bos: false,
        }
    }

    const fn ignoring_merges(mut self) -> Self {
        self.ignores_merges = true;
        self
    }

    const fn adding_bos(mut self) -> Self {
        self.adds_bos = true;
        self
    }

    const fn normalizing(mut self) -> Self {
        self.normalizes_nfc = true;
        self
    }

    /// The pre-tokenizer that llama.cpp calls `name` (src/llama-vocab.cpp).
    pub(in crate::checkpoint) fn find(name: &str) -> Result<&'static Self, TokenizerImportError> {
        let found = GGUF.iter().find(|known| known.names.contains(&name));
        found.ok_or_else(|| TokenizerImportError::Unsupported {
            what: "GGUF pre-tokenizer",
            found: name.to_owned(),
            supported: GGUF_SUPPORTED,
        })
    }

    /// The steps of splitting.
    pub(in crate::checkpoint) fn steps(&self) -> Result<Vec<SplitStep>, TokenizerImportError> {
        self.patterns.iter().map(|text| recognize(text)).collect()
    }
}

const GGUF: [GgufPreTokenizer; 9] = [
    GgufPreTokenizer::new(&["gpt-2", "gpt2"], &[GPT2]),
    GgufPreTokenizer::new(&["smollm"], &[DIGIT, GPT2]),
    GgufPreTokenizer::new(&["llama-bpe", "llama3", "llama-v3"], &[LLAMA3])
        .ignoring_merges()
        .adding_bos(),
    GgufPreTokenizer::new(&["qwen2", "deepseek-r1-qwen"], &[QWEN2]).normalizing(),
    // llama.cpp splits off whole numbers here, the models' tokenizer.json single
    // digits. Their vocabularies have no longer ones, so that the ids are the same.
    GgufPreTokenizer::new(
        &["deepseek-llm"],
        &[
            NEWLINE,
            DEEPSEEK_LETTERS,
            DEEPSEEK_PUNCTUATION,
            r"\s+$",
            DEEPSEEK_CJK,
            DIGIT,
        ],
    ),
    GgufPreTokenizer::new(
        &["deepseek-coder"],
        &[NEWLINE, r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, DIGIT],
    ),
    GgufPreTokenizer::new(
        &["deepseek-v3"],
        &[r"\p{N}{1,3}", DEEPSEEK_V3_CJK, DEEPSEEK_V3],
    ),
    GgufPreTokenizer::new(&["gpt-4o"], &[GPT4O]),
    GgufPreTokenizer::new(&["tekken"], &[TEKKEN])
        .ignoring_merges()
        .adding_bos(),
];

pub(in crate::checkpoint) const GGUF_SUPPORTED: &str = "gpt-2, gpt2, smollm, llama-bpe, llama3, llama-v3, qwen2, \
     deepseek-r1-qwen, deepseek-llm, deepseek-coder, deepseek-v3, gpt-4o, tekken";

/// The step that splits as the regular expression `pattern` does.
///
/// Some files have line breaks themselves in a pattern, others their escapes.
pub(super) fn recognize(pattern: &str) -> Result<SplitStep, TokenizerImportError> {
    let pattern = pattern.replace('\r', r"\r").replace('\n', r"\n");
    let splitter = match pattern.as_str() {
        GPT2 => Splitter::Gpt2,
        LLAMA3 => Splitter::Words { digits: 3 },
        QWEN2 => Splitter::Words { digits: 1 },
        DEEPSEEK_V3 => Splitter::DeepSeekV3,
        GPT4O => Splitter::CasedWords {
            digits: 3,
            contractions: true,
        },
        TEKKEN => Splitter::CasedWords {
            digits: 1,
            contractions: false,
        },
        r"\p{N}{1,3}" => Splitter::Numbers { digits: 3 },
        r"\p{N}" => Splitter::Numbers { digits: 1 },
        r"\p{N}+" => Splitter::Numbers { digits: 0 },
        r"\s?\p{L}+" => Splitter::SpacedLetters,
        r"\s?\p{P}+" => Splitter::SpacedPunctuation,
        r"\s+$" => Splitter::TrailingSpace,
        other => {
            return character_class(other).ok_or_else(|| TokenizerImportError::Unsupported {
                what: "pre-tokenizer pattern",
                found: other.to_owned(),
                supported: SUPPORTED,
            });
        }
    };
    Ok(splitter.into())
}

/// Reads `\s?[…]+`, `[…]+` or `[…]` with plain characters and ranges.
fn character_class(pattern: &str) -> Option<SplitStep> {
    let (spaced, rest) = match pattern.strip_prefix(r"\s?") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (repeated, rest) = match rest.strip_suffix('+') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let inside = rest.strip_prefix('[')?.strip_suffix(']')?;
    let mut ranges = Vec::new();
    let mut characters = inside.chars().peekable();
    while let Some(character) = characters.next() {
        let first = literal(character, &mut characters)?;
        let last = if characters.next_if_eq(&'-').is_some() {
            let character = characters.next()?;
            literal(character, &mut characters)?
        } else {
            first
        };
        if first > last {
            return None;
        }
        ranges.push((first, last));
    }
    (!ranges.is_empty()).then_some(SplitStep {
        splitter: Splitter::Ranges { spaced, repeated },
        ranges,
    })
}

/// One character of a class; `None` for anything with a meaning of its own.
fn literal(character: char, rest: &mut impl Iterator<Item = char>) -> Option<char> {
    match character {
        '\\' => match rest.next()? {
            'r' => Some('\r'),
            'n' => Some('\n'),
            't' => Some('\t'),
            escaped if escaped.is_ascii_punctuation() => Some(escaped),
            _ => None,
        },
        '^' | '[' | ']' | '&' => None,
        plain => Some(plain),
    }
}

#[cfg(test)]
mod tests;
