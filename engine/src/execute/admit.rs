//! Whether tokens may be taken in.

use crate::EngineError;

/// Checks that `tokens`, the first of which comes at `position`, fit a cache of
/// `context` rows, and that the vocabulary has them all.
///
/// # Errors
/// [`EngineError::ContextFull`], [`EngineError::UnknownToken`].
pub(crate) fn admit(
    tokens: &[u32],
    position: usize,
    context: usize,
    vocab_size: u32,
) -> Result<(), EngineError> {
    let needed = position as u64 + tokens.len() as u64;
    if needed > context as u64 {
        return Err(EngineError::ContextFull {
            context: context as u32,
            needed,
        });
    }
    match tokens.iter().find(|token| **token >= vocab_size) {
        Some(token) => Err(EngineError::UnknownToken {
            token: *token,
            vocab_size,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_need_room_and_a_place_in_the_vocabulary() {
        assert_eq!(admit(&[0, 9], 3, 5, 10), Ok(()));
        let (context, needed) = (5, 6);
        let full = EngineError::ContextFull { context, needed };
        assert_eq!(admit(&[0, 10], 4, 5, 10), Err(full));
        let (token, vocab_size) = (10, 10);
        let unknown = EngineError::UnknownToken { token, vocab_size };
        assert_eq!(admit(&[0, 10], 3, 5, 10), Err(unknown));
    }
}
