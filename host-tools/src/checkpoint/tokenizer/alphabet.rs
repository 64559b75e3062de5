//! GPT-2's alphabet: each byte as one printable character.
//!
//! Printable bytes stand for themselves; the others are numbered from U+0100 on.

/// Whether a byte stands for itself.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The character of a byte.
#[cfg(test)]
pub(super) fn character(byte: u8) -> char {
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_printable(*byte)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The bytes that a text in the alphabet stands for.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte).collect()
}

fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_printable(byte).then_some(byte);
    }
    let index = code.checked_sub(0x100)? as usize;
    (0..=u8::MAX).filter(|byte| !is_printable(*byte)).nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        for value in 0..=u8::MAX {
            assert_eq!(byte(character(value)), Some(value));
        }
        assert_eq!(character(b' '), 'Ġ');
        assert_eq!(character(b'\n'), 'Ċ');
        assert_eq!(decode("Ġthe"), Some(b" the".to_vec()));
        assert_eq!(decode("▁the"), None);
    }
}
