//! A NOR flash that can lose its power in the middle of an operation.

use std::collections::BTreeMap;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// What is left of the operation during which the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// Nothing.
    Before,
    /// Its first half, and a few bits of what follows.
    Half,
    /// Some bits everywhere.
    Scattered,
    /// A write: some bits everywhere. An erase: a sector that reads as random.
    Random,
    /// All of it.
    After,
}

impl Tear {
    pub const ALL: [Self; 5] = [
        Self::Before,
        Self::Half,
        Self::Scattered,
        Self::Random,
        Self::After,
    ];
}

/// How what was torn is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// As the same bytes, always.
    Settled,
    /// Each time as it was before, as it was to be, or as something between: a
    /// bit whose charge is too small for either.
    Flickers,
    /// Not at all: flash with error correction, as of an STM32H7.
    Reports,
}

/// Written `WRITE` bytes at once, erased by `ERASE`. Panics if it is used in a
/// way that such a flash does not allow: setting a bit by writing, writing
/// twice without erasing, or out of place.
#[derive(Debug, Clone)]
pub struct Nor<const WRITE: usize, const ERASE: usize> {
    pub bytes: Vec<u8>,
    /// Writes and erases begun since [`Nor::restart`].
    pub operations: usize,
    written: Vec<bool>,
    /// What torn units held before, and were to hold.
    torn: BTreeMap<usize, [Vec<u8>; 2]>,
    pub reads: Torn,
    cut: Option<(usize, Tear)>,
    dead: bool,
    /// Fails every write, but keeps its power.
    pub broken: bool,
    random: Xoshiro256PlusPlus,
}

impl<const WRITE: usize, const ERASE: usize> Nor<WRITE, ERASE> {
    /// An erased flash of this many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0xff; bytes],
            operations: 0,
            written: vec![false; bytes / WRITE],
            torn: BTreeMap::new(),
            reads: Torn::Settled,
            cut: None,
            dead: false,
            broken: false,
            random: Xoshiro256PlusPlus::seed_from_u64(11),
        }
    }

    /// What an erased flash never is: full of random bytes.
    pub fn fill(&mut self, seed: u64) {
        Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut self.bytes);
        self.written.fill(true);
    }

    /// Power is there; it fails in operation number `cut`, if at all.
    pub fn restart(&mut self, cut: Option<(usize, Tear)>) {
        self.dead = false;
        self.operations = 0;
        self.cut = cut;
    }

    /// From here on, other bits are torn.
    pub fn stir(&mut self, seed: u64) {
        self.random = Xoshiro256PlusPlus::seed_from_u64(seed);
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Counts an operation; how is it torn, if it is?
    fn operation(&mut self) -> Result<Option<Tear>, NorFlashErrorKind> {
        if self.dead || self.broken {
            return Err(NorFlashErrorKind::Other);
        }
        let now = self.operations;
        self.operations += 1;
        let tear = self.cut.filter(|cut| cut.0 == now).map(|cut| cut.1);
        self.dead = tear.is_some();
        Ok(tear)
    }

    fn random_byte(&mut self) -> u8 {
        self.random.next_u32() as u8
    }

    /// Remembers what a torn operation on `unit` was to change.
    fn tear(&mut self, unit: usize, whole: Vec<u8>) {
        if self.reads == Torn::Settled {
            return;
        }
        let old = self.bytes[unit * WRITE..(unit + 1) * WRITE].to_vec();
        self.torn.insert(unit, [old, whole]);
        self.written[unit] = true;
    }

    /// `whole` is byte `index` of `count` after the operation, `old` before it;
    /// what is it after the torn one?
    fn torn(&mut self, tear: Tear, (index, count): (usize, usize), old: u8, whole: u8) -> u8 {
        let mixture = |random: u8| (old & random) | (whole & !random);
        match tear {
            Tear::Before => old,
            Tear::Half if index < count / 2 => whole,
            Tear::Half if index > count / 2 + 3 => old,
            Tear::Half | Tear::Scattered | Tear::Random => mixture(self.random_byte()),
            Tear::After => whole,
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Nor<WRITE, ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Nor<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        if self.dead {
            return Err(NorFlashErrorKind::Other);
        }
        let from = offset as usize;
        bytes.copy_from_slice(&self.bytes[from..from + bytes.len()]);
        let units = from / WRITE..(from + bytes.len()).div_ceil(WRITE);
        for (unit, ends) in self.torn.range(units) {
            if self.reads == Torn::Reports {
                return Err(NorFlashErrorKind::Other);
            }
            let Some(end) = ends.get(self.random.next_u32() as usize % 3) else {
                continue;
            };
            for (at, byte) in (unit * WRITE..).zip(end) {
                if let Some(place) = at.checked_sub(from).and_then(|at| bytes.get_mut(at)) {
                    *place = *byte;
                }
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Nor<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(ERASE) && to.is_multiple_of(ERASE));
        for sector in (from..to).step_by(ERASE) {
            let tear = self.operation()?;
            let units = sector / WRITE..(sector + ERASE) / WRITE;
            if tear.is_none() {
                self.torn.retain(|unit, _| !units.contains(unit));
            }
            let is_torn = !matches!(tear, None | Some(Tear::Before));
            for unit in units.clone().filter(|_| is_torn) {
                self.tear(unit, vec![0xff; WRITE]);
            }
            for index in 0..ERASE {
                let old = self.bytes[sector + index];
                self.bytes[sector + index] = match tear {
                    None => 0xff,
                    Some(Tear::Random) => self.random_byte(),
                    Some(tear) => self.torn(tear, (index, ERASE), old, 0xff),
                };
            }
            match tear {
                // Nothing has happened.
                Some(Tear::Before) => {}
                None => self.written[units].fill(false),
                Some(Tear::After) if self.reads == Torn::Settled => {
                    self.written[units].fill(false);
                }
                // What was half erased must be erased before it is written.
                Some(_) => self.written[units].fill(true),
            }
            if tear.is_some() {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let from = offset as usize;
        assert!(from.is_multiple_of(WRITE) && bytes.len().is_multiple_of(WRITE));
        let units = from / WRITE..(from + bytes.len()) / WRITE;
        // A torn page may look erased; what is written over it comes to nothing
        // certain.
        let is_torn = |unit: &usize| self.torn.contains_key(unit);
        let written_over = units.clone().any(|unit| is_torn(&unit));
        let mut sound = units.clone().filter(|unit| !is_torn(unit));
        assert!(!sound.any(|unit| self.written[unit]), "written twice");
        let tear = self.operation()?;
        let is_torn = written_over || !matches!(tear, None | Some(Tear::Before));
        for (unit, whole) in units.clone().zip(bytes.chunks(WRITE)).filter(|_| is_torn) {
            self.tear(unit, whole.to_vec());
        }
        for (index, byte) in bytes.iter().enumerate() {
            let old = self.bytes[from + index];
            assert!(
                written_over || old & byte == *byte,
                "a write cannot set bits"
            );
            self.bytes[from + index] = match tear {
                None => old & byte,
                Some(tear) => self.torn(tear, (index, bytes.len()), old, *byte),
            };
        }
        let untorn = |unit: &usize| !self.torn.contains_key(unit);
        for unit in units.filter(untorn) {
            let left = &self.bytes[unit * WRITE..(unit + 1) * WRITE];
            self.written[unit] = tear.is_none() || left.iter().any(|byte| *byte != 0xff);
        }
        match tear {
            None => Ok(()),
            Some(_) => Err(NorFlashErrorKind::Other),
        }
    }
}
