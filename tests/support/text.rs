//! Text to compare tokenizers on.

use std::fmt::Write as _;

use briquette_engine::text::{EncodeOptions, Scratch, Tokenizer};

use crate::repository;

/// Encodes with our tokenizer.
pub fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: EncodeOptions) -> Vec<u32> {
    let needed = tokenizer.buffers_needed(text.len());
    let mut ids = vec![0; needed.tokens];
    let (mut words, mut normalized) = (vec![0; needed.words], vec![0; needed.text]);
    let mut scratch = Scratch {
        words: &mut words,
        text: &mut normalized,
    };
    let count = tokenizer
        .encode(text, options, &mut ids, &mut scratch)
        .unwrap();
    ids.truncate(count);
    ids
}

/// A small generator, so that the text is the same everywhere.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Sentences of many languages and this repository's own sources, then lines
/// of words mixed from many Unicode blocks, at least two megabytes in all.
pub fn corpus() -> String {
    let mut text = String::from(SENTENCES);
    for file in [
        "tests/support/text.rs",
        "engine/src/kernels/x86/avx512.rs",
        "Cargo.toml",
    ] {
        text += &std::fs::read_to_string(repository().join(file)).unwrap();
    }
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    while text.len() < 2_100_000 {
        for _ in 0..1 + noise.below(14) {
            match noise.below(9) {
                0 => text.push_str(GAPS[noise.below(GAPS.len())]),
                1 => write!(text, "{}", noise.below(1_000_000)).unwrap(),
                2 => {
                    let (first, last) = BLOCKS[noise.below(BLOCKS.len())];
                    for _ in 0..1 + noise.below(9) {
                        let code = first + noise.below((last - first + 1) as usize) as u32;
                        text.extend(char::from_u32(code));
                    }
                }
                3 => text.push_str(ODD[noise.below(ODD.len())]),
                _ => text.push_str(&words[noise.below(words.len())]),
            }
            if noise.below(3) > 0 {
                text.push(' ');
            }
        }
        text.push('\n');
    }
    text
}

const SENTENCES: &str = "The quick brown fox doesn't jump; it's 3.14159 o'clock, they'LL say.\n\
    Les naïfs ægithales hâtifs pondant à Noël où il gèle sont sûrs d'être déçus.\n\
    Falsches Üben von Xylophonmusik quält jeden größeren Zwerg.\n\
    Съешь же ещё этих мягких французских булок, да выпей чаю.\n\
    Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. דג סקרן שט בים מאוכזב.\n\
    نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر.\n\
    いろはにほへと ちりぬるを 色は匂へど 散りぬるを。我能吞下玻璃而不伤身体。\n\
    키스의 고유조건은 입술끼리 만나야 하고. ऋषियों को सताने वाले दुष्ट राक्षसों।\n\
    เป็นมนุษย์สุดประเสริฐเลิศคุณค่า 👩‍👩‍👧‍👦 🇫🇷 😀😃 ½ ⅷ ² ① e\u{301}te\u{301} \u{ac00}\u{1100}\u{1161}\n\
    fn main() { println!(\"{:?}\", x_1 += 0xFF_u32 << 3); } // $€£ <|im_start|><|im<|bos|> né\n";

const GAPS: [&str; 10] = [
    "  ", "\t", "   \t ", "\r\n", "\n\n", "\u{a0}", "\u{3000}", " \n ", "\u{2009}", "      ",
];

const ODD: [&str; 12] = [
    "I'd",
    "WE'RE",
    "'s",
    "...",
    "?!",
    "——",
    "<think>",
    "</answer>",
    "a\u{300}\u{323}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u{1f9d1}\u{200d}\u{1f680}",
    "\u{212b}",
];

/// Ranges of characters that have been in Unicode for long: our NFC tables are
/// newer than the crate's.
const BLOCKS: [(u32, u32); 22] = [
    (0x20, 0x7e),
    (0xa0, 0xff),
    (0x100, 0x24f),
    (0x300, 0x36f),
    (0x370, 0x3ff),
    (0x400, 0x4ff),
    (0x591, 0x5c7),
    (0x600, 0x6ff),
    (0x900, 0x97f),
    (0xe00, 0xe7f),
    (0x1100, 0x11ff),
    (0x1e00, 0x1eff),
    (0x2000, 0x206f),
    (0x2100, 0x218f),
    (0x2190, 0x22ff),
    (0x3040, 0x30ff),
    (0x4e00, 0x9fff),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xff00, 0xffee),
    (0x1d400, 0x1d7ff),
    (0x1f300, 0x1f64f),
];
