//! The task "sentry": what a device at the edge does all day. It reads a few
//! sensors, each with a limit, and names those that are out of bounds.
//!
//! ```text
//! pump 17 max 12 tank 9 min 11 fan 8 max 8 alarms ?
//! <think> pump 17 > 12 hi ; tank 9 < 11 lo ; fan 8 = 8 ok </think><answer> pump tank </answer>
//! ```

mod corpus;
mod grade;
mod words;

pub use corpus::{Habit, draw_example};
pub use grade::{Grade, grade};
pub use words::{CHAT_TEMPLATE, Word, tokenizer_json};

use std::cmp::Ordering;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The sensors that a device may have.
pub const NAMES: [&str; 8] = [
    "pump", "tank", "fan", "oven", "valve", "motor", "boiler", "fridge",
];
/// Limits of the readings that are drawn.
const LIMITS: std::ops::RangeInclusive<u8> = 8..=22;
/// How far a value may be from its limit: close, so that guessing rarely pays.
const SPREAD: u8 = 7;
/// One in this many problems is kept from all training.
const HELD_OUT: u32 = 8;

/// Which side of the limit is the wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// The value must not be above the limit.
    Max,
    /// The value must not be below the limit.
    Min,
}

/// What a reading means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Above its maximum.
    High,
    /// Below its minimum.
    Low,
    /// Within bounds.
    Fine,
}

/// One sensor's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Index into [`NAMES`].
    pub name: u8,
    /// What was measured.
    pub value: u8,
    /// What it may be.
    pub bound: Bound,
    /// Where the bound lies.
    pub limit: u8,
}

impl Reading {
    /// What the reading means.
    pub const fn verdict(&self) -> Verdict {
        match self.bound {
            Bound::Max if self.value > self.limit => Verdict::High,
            Bound::Min if self.value < self.limit => Verdict::Low,
            _ => Verdict::Fine,
        }
    }

    /// How the value compares with the limit.
    pub fn order(&self) -> Ordering {
        self.value.cmp(&self.limit)
    }
}

/// Which problems may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Those that training sees.
    Training,
    /// Those that it never sees.
    HeldOut,
}

/// A few readings of different sensors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// In the order in which they are told and answered.
    pub readings: Vec<Reading>,
}

impl Problem {
    /// Draws a problem with `sensors` readings from one side of the split.
    pub fn draw(rng: &mut Xoshiro256PlusPlus, sensors: usize, split: Split) -> Self {
        loop {
            let problem = Self::draw_any(rng, sensors);
            if problem.split() == split {
                return problem;
            }
        }
    }

    fn draw_any(rng: &mut Xoshiro256PlusPlus, sensors: usize) -> Self {
        let mut names: Vec<u8> = (0..NAMES.len() as u8).collect();
        names.shuffle(rng);
        names.truncate(sensors);
        let reading = |name| {
            let limit = rng.random_range(LIMITS);
            Reading {
                name,
                value: rng.random_range(limit - SPREAD..=limit + SPREAD),
                bound: if rng.random() { Bound::Max } else { Bound::Min },
                limit,
            }
        };
        Self {
            readings: names.into_iter().map(reading).collect(),
        }
    }

    /// The side of the split that the problem is on: decided by its own
    /// content, so that no problem can be on both.
    pub fn split(&self) -> Split {
        let bytes = self.readings.iter().flat_map(|reading| {
            let bound = u8::from(reading.bound == Bound::Min);
            [reading.name, reading.value, bound, reading.limit]
        });
        let bytes: Vec<u8> = bytes.collect();
        let digest = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
        if digest.is_multiple_of(HELD_OUT) {
            Split::HeldOut
        } else {
            Split::Training
        }
    }

    /// The sensors that are out of bounds, in order.
    pub fn alarms(&self) -> Vec<u8> {
        let out = |reading: &&Reading| reading.verdict() != Verdict::Fine;
        self.readings.iter().filter(out).map(|r| r.name).collect()
    }

    /// The prompt, from the token that begins a text.
    pub fn prompt(&self) -> Vec<u32> {
        let mut words = vec![Word::Begin];
        for reading in &self.readings {
            words.extend([
                Word::Name(reading.name),
                Word::Number(reading.value),
                Word::Bound(reading.bound),
                Word::Number(reading.limit),
            ]);
        }
        words.extend([Word::Alarms, Word::Question]);
        words.into_iter().map(Word::id).collect()
    }
}
