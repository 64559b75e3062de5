//! Rule-based rewards (DeepSeek-R1, section 2.2.2): is the answer right, and
//! does the completion have the format?

use super::{Problem, Word};

/// The grade of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grade {
    /// The first answer between tags names just the sensors that are out of
    /// bounds, in order.
    pub right: bool,
    /// One thought, then one answer, then the end, and nothing else.
    pub well_formed: bool,
}

/// What a well-formed completion adds to the reward.
const FORMAT_REWARD: f32 = 0.2;

impl Grade {
    /// The reward: 1 for a right answer and 0.2 for the format.
    pub fn reward(self) -> f32 {
        f32::from(u8::from(self.right)) + FORMAT_REWARD * f32::from(u8::from(self.well_formed))
    }
}

/// Grades `completion`: everything after the prompt, with the token that ends
/// the text if it came.
pub fn grade(problem: &Problem, completion: &[u32]) -> Grade {
    Grade {
        right: answer(completion) == Some(problem.alarms()),
        well_formed: is_well_formed(completion),
    }
}

/// The sensors named by the first answer; nothing if there is no answer or it
/// is no list of names.
fn answer(completion: &[u32]) -> Option<Vec<u8>> {
    let at = |word: Word| completion.iter().position(|id| *id == word.id());
    let (start, end) = (at(Word::Answer)?, at(Word::EndAnswer)?);
    match completion.get(start + 1..end)? {
        [] => None,
        [id] if *id == Word::None.id() => Some(Vec::new()),
        names => names.iter().map(|id| Word::as_name(*id)).collect(),
    }
}

fn is_well_formed(completion: &[u32]) -> bool {
    let tags = [
        Word::Think,
        Word::EndThink,
        Word::Answer,
        Word::EndAnswer,
        Word::End,
    ]
    .map(Word::id);
    let at = |tag: u32| completion.iter().position(|id| *id == tag);
    let found: Vec<u32> = completion
        .iter()
        .copied()
        .filter(|id| tags.contains(id) || *id == Word::Begin.id())
        .collect();
    // Nothing stands before the thought or between it and the answer.
    let adjacent = at(tags[0]) == Some(0)
        && at(tags[1]).map(|end| end + 1) == at(tags[2])
        && at(tags[3]).map(|end| end + 1) == at(tags[4]);
    found == tags && adjacent
}

#[cfg(test)]
mod tests {
    use super::super::{Bound, Reading};
    use super::*;

    fn problem() -> Problem {
        let reading = |name, value, bound, limit| Reading {
            name,
            value,
            bound,
            limit,
        };
        Problem {
            readings: vec![
                reading(0, 17, Bound::Max, 12),
                reading(1, 9, Bound::Min, 11),
                reading(2, 8, Bound::Max, 8),
            ],
        }
    }

    fn grade_words(words: &[Word]) -> Grade {
        let ids: Vec<u32> = words.iter().map(|word| word.id()).collect();
        grade(&problem(), &ids)
    }

    const WHOLE: [Word; 7] = [
        Word::Think,
        Word::EndThink,
        Word::Answer,
        Word::Name(0),
        Word::Name(1),
        Word::EndAnswer,
        Word::End,
    ];

    #[test]
    fn a_right_answer_in_the_format_has_the_whole_reward() {
        let grade = grade_words(&WHOLE);
        assert!(grade.right && grade.well_formed);
        assert!((grade.reward() - 1.2).abs() < 1e-6);
    }

    #[test]
    fn every_lost_word_costs() {
        for (lost, word) in WHOLE.iter().enumerate() {
            let mut words = WHOLE.to_vec();
            words.remove(lost);
            let grade = grade_words(&words);
            assert!(grade.reward() < 1.2, "{words:?}");
            let is_name = matches!(word, Word::Name(_));
            assert_eq!(grade.well_formed, is_name, "{words:?}");
        }
    }

    #[test]
    fn order_repetition_and_chatter_are_wrong() {
        let mut swapped = WHOLE;
        swapped.swap(3, 4);
        assert!(!grade_words(&swapped).right);
        let mut twice = WHOLE.to_vec();
        twice.insert(4, Word::Name(0));
        assert!(!grade_words(&twice).right);
        let mut early = WHOLE.to_vec();
        early.insert(0, Word::Wait);
        assert!(!grade_words(&early).well_formed);
        let mut again = WHOLE.to_vec();
        again.insert(1, Word::Think);
        assert!(!grade_words(&again).well_formed);
        let mut none = WHOLE.to_vec();
        none.splice(3..5, [Word::None, Word::Name(0)]);
        assert!(!grade_words(&none).right);
    }
}
