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

/// Letters of the scripts with case, as DeepSeek's first tokenizers list them.
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

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

/// The steps of a GGUF file's `tokenizer.ggml.pre`, as llama.cpp defines them,
/// and whether merges are ignored for whole tokens, and NFC applied.
pub(super) fn of_gguf(pre: &str) -> Result<(Vec<SplitStep>, bool, bool), TokenizerImportError> {
    const SUPPORTED: &str = "gpt-2, smollm, llama-bpe, llama3, llama-v3, qwen2, \
         deepseek-r1-qwen, deepseek-llm, deepseek-coder, deepseek-v3, gpt-4o, tekken";
    let digits = || Splitter::Numbers { digits: 1 }.into();
    let steps: Vec<SplitStep> = match pre {
        "gpt-2" | "gpt2" => vec![Splitter::Gpt2.into()],
        "smollm" => vec![digits(), Splitter::Gpt2.into()],
        "llama3" | "llama-v3" | "llama-bpe" => vec![Splitter::Words { digits: 3 }.into()],
        "qwen2" | "deepseek-r1-qwen" => vec![Splitter::Words { digits: 1 }.into()],
        "deepseek-llm" => vec![
            recognize(r"[\r\n]")?,
            recognize(DEEPSEEK_LETTERS)?,
            recognize(r"\s?[!-/:-~！-／：-～‘-‟　-。]+")?,
            recognize(r"\s+$")?,
            recognize(r"[一-龥ࠀ-一가-퟿]+")?,
            digits(),
        ],
        "deepseek-coder" => vec![
            recognize(r"[\r\n]")?,
            recognize(r"\s?\p{L}+")?,
            recognize(r"\s?\p{P}+")?,
            recognize(r"[一-龥ࠀ-一가-퟿]+")?,
            digits(),
        ],
        "deepseek-v3" => vec![
            recognize(r"\p{N}{1,3}")?,
            recognize("[一-龥\u{3040}-ゟ゠-ヿ]+")?,
            recognize(DEEPSEEK_V3)?,
        ],
        "gpt-4o" => vec![recognize(GPT4O)?],
        "tekken" => vec![recognize(TEKKEN)?],
        other => {
            return Err(TokenizerImportError::Unsupported {
                what: "GGUF pre-tokenizer",
                found: other.to_owned(),
                supported: SUPPORTED,
            });
        }
    };
    let ignores_merges = matches!(pre, "llama3" | "llama-v3" | "llama-bpe" | "tekken");
    let normalizes = matches!(pre, "qwen2" | "deepseek-r1-qwen");
    Ok((steps, ignores_merges, normalizes))
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
