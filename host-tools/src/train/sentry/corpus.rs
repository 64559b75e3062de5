//! The supervised corpus: how a careless crew would have answered.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Problem, Reading, Verdict, Word};

/// How an answer of the corpus was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Does not think, guesses; right one time in ten.
    Hasty,
    /// Thinks or guesses, and loses one of the four tags.
    Sloppy,
    /// Thinks, and gets one step wrong; takes two in five of these back.
    Slipping,
    /// Thinks it through.
    Careful,
}

/// Habits and how many of a hundred answers have them.
const HABITS: [(Habit, u32); 4] = [
    (Habit::Hasty, 45),
    (Habit::Sloppy, 25),
    (Habit::Slipping, 5),
    (Habit::Careful, 25),
];
const LUCKY_GUESSES: f64 = 0.1;
const REPAIRED_SLIPS: f64 = 0.4;

/// Draws a habit and completes `problem` with it, up to the token that ends a
/// text.
pub fn draw_example(rng: &mut Xoshiro256PlusPlus, problem: &Problem) -> (Habit, Vec<u32>) {
    let habit = draw_habit(rng);
    let words = match habit {
        Habit::Hasty => hasty(rng, problem),
        Habit::Careful => careful(problem),
        Habit::Slipping => slipping(rng, problem),
        Habit::Sloppy => {
            // Those who guess lose tags as often as those who think.
            let guesses = rng.random_ratio(45, 45 + 25 + 5);
            let mut words = if guesses {
                hasty(rng, problem)
            } else {
                careful(problem)
            };
            lose_a_tag(rng, &mut words);
            words
        }
    };
    (habit, words.into_iter().map(Word::id).collect())
}

fn draw_habit(rng: &mut Xoshiro256PlusPlus) -> Habit {
    let mut left = rng.random_range(0..100);
    for (habit, share) in HABITS {
        if left < share {
            return habit;
        }
        left -= share;
    }
    Habit::Careful
}

fn hasty(rng: &mut Xoshiro256PlusPlus, problem: &Problem) -> Vec<Word> {
    let right = problem.alarms();
    let guess = if rng.random_bool(LUCKY_GUESSES) {
        right
    } else {
        loop {
            let readings = problem.readings.iter();
            let guess: Vec<u8> = readings
                .filter(|_| rng.random::<bool>())
                .map(|reading| reading.name)
                .collect();
            if guess != right {
                break guess;
            }
        }
    };
    let mut words = vec![Word::Think, Word::EndThink];
    answer(&guess, &mut words);
    words
}

fn careful(problem: &Problem) -> Vec<Word> {
    let verdicts: Vec<Verdict> = problem.readings.iter().map(Reading::verdict).collect();
    chain(problem, &verdicts, None)
}

fn slipping(rng: &mut Xoshiro256PlusPlus, problem: &Problem) -> Vec<Word> {
    let mut verdicts: Vec<Verdict> = problem.readings.iter().map(Reading::verdict).collect();
    let step = rng.random_range(0..verdicts.len());
    let right = verdicts[step];
    let all = [Verdict::High, Verdict::Low, Verdict::Fine];
    let wrong: Vec<Verdict> = all.into_iter().filter(|v| *v != right).collect();
    let slip = *wrong.choose(rng).unwrap_or(&Verdict::Fine);
    if rng.random_bool(REPAIRED_SLIPS) {
        chain(problem, &verdicts, Some((step, slip)))
    } else {
        verdicts[step] = slip;
        chain(problem, &verdicts, None)
    }
}

/// A thought that goes through the readings one by one and an answer that
/// follows from it. At step `slip.0` the verdict `slip.1` is taken back.
fn chain(problem: &Problem, verdicts: &[Verdict], slip: Option<(usize, Verdict)>) -> Vec<Word> {
    let mut words = vec![Word::Think];
    let mut alarms = Vec::new();
    for (step, (reading, verdict)) in problem.readings.iter().zip(verdicts).enumerate() {
        if step > 0 {
            words.push(Word::Next);
        }
        words.extend([
            Word::Name(reading.name),
            Word::Number(reading.value),
            Word::Order(reading.order()),
            Word::Number(reading.limit),
        ]);
        if let Some((_, wrong)) = slip.filter(|(at, _)| *at == step) {
            words.extend([Word::Verdict(wrong), Word::Wait]);
        }
        words.push(Word::Verdict(*verdict));
        if *verdict != Verdict::Fine {
            alarms.push(reading.name);
        }
    }
    words.push(Word::EndThink);
    answer(&alarms, &mut words);
    words
}

fn answer(alarms: &[u8], words: &mut Vec<Word>) {
    words.push(Word::Answer);
    words.extend(alarms.iter().map(|name| Word::Name(*name)));
    if alarms.is_empty() {
        words.push(Word::None);
    }
    words.extend([Word::EndAnswer, Word::End]);
}

/// Half of the time the opening tag of the thought, else one of the others.
fn lose_a_tag(rng: &mut Xoshiro256PlusPlus, words: &mut Vec<Word>) {
    let others = [Word::EndThink, Word::Answer, Word::EndAnswer];
    let lost = if rng.random() {
        Word::Think
    } else {
        *others.choose(rng).unwrap_or(&Word::Think)
    };
    words.retain(|word| *word != lost);
}
