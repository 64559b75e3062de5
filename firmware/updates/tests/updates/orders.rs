//! Operations and failures in any order.

use briquette_protocol::update::UpdateRefusal;
use proptest::prelude::*;

use super::device::{Device, SLOT, Update, device_with, install, installed, update};
use super::nor::Tear;

#[derive(Debug, Clone)]
enum Step {
    Begin(usize),
    /// Where from (right, or somewhere), and how many bytes.
    Write(Option<u32>, usize),
    Finish,
    Confirm,
    Restart,
    /// The power fails after this many operations.
    Cut(usize, Tear),
}

fn step() -> impl Strategy<Value = Step> {
    let tear = proptest::sample::select(&Tear::ALL[..]);
    prop_oneof![
        3 => (0_usize..4).prop_map(Step::Begin),
        8 => (proptest::option::weighted(0.1, 0_u32..4_000), 1_usize..2_500)
            .prop_map(|(offset, count)| Step::Write(offset, count)),
        4 => Just(Step::Finish),
        3 => Just(Step::Confirm),
        3 => Just(Step::Restart),
        2 => (0_usize..12, tear).prop_map(|(after, tear)| Step::Cut(after, tear)),
    ]
}

/// A device and what is known about it.
struct World {
    device: Option<Device>,
    updates: Vec<Update>,
    sending: Option<usize>,
    sent: u32,
    /// The version that runs, and the one that has answered last.
    running: u32,
    confirmed: u32,
}

impl World {
    fn new() -> Self {
        let updates = (1..5).map(|version| update(version, 900 * version as usize));
        let updates: Vec<Update> = updates.collect();
        let device = device_with(installed(SLOT, &[&updates[0]]), None);
        let mut world = Self {
            device: Some(device),
            updates,
            sending: None,
            sent: 0,
            running: 1,
            confirmed: 1,
        };
        world.restart(None);
        world
    }

    /// Switches off and on again; with a cut, the power fails soon after.
    fn restart(&mut self, cut: Option<(usize, Tear)>) {
        let mut flash = self.device.take().unwrap().into_flash();
        flash.restart(cut);
        let mut device = device_with(flash, None);
        let model = device.boot();
        let flash = device.flash();
        match model {
            Some(model) => {
                let bytes = &flash.bytes[model.range.start as usize..model.range.end as usize];
                let mut versions = self.updates.iter().zip(1..);
                let offered = versions.find(|(update, _)| update.blob == bytes);
                assert_eq!(offered.map(|offered| offered.1), Some(model.version));
                assert!(model.version >= self.confirmed, "an answer is forgotten");
                self.running = model.version;
            }
            None => {
                assert!(flash.is_dead(), "there is no model");
                // Nothing runs that could answer for the first time.
                self.running = self.confirmed;
            }
        }
        self.sending = None;
        self.device = Some(device);
    }

    fn take(&mut self, step: &Step) {
        if let Step::Restart = step {
            return self.restart(None);
        }
        if let Step::Cut(after, tear) = step {
            return self.restart(Some((*after, *tear)));
        }
        let device = self.device.as_mut().unwrap();
        let result = match step {
            Step::Begin(index) => {
                let update = &self.updates[*index];
                let begun = device.begin(&update.metadata, &update.signature);
                self.sending = begun.is_ok().then_some(*index);
                self.sent = 0;
                Ok(())
            }
            Step::Write(offset, count) => {
                let Some(index) = self.sending else { return };
                let rest = &self.updates[index].blob[self.sent as usize..];
                let offset = offset.unwrap_or(self.sent);
                let written = device.write(offset, &rest[..rest.len().min(*count)]);
                match written {
                    Ok(next) => {
                        assert_eq!(offset, self.sent);
                        self.sent = next;
                        Ok(())
                    }
                    Err(UpdateRefusal::OutOfOrder { expected }) => {
                        assert_eq!(expected, self.sent);
                        Ok(())
                    }
                    Err(other) => Err(other),
                }
            }
            Step::Finish => {
                let sending = self.sending.take();
                let length = sending.map(|index| self.updates[index].blob.len());
                match device.finish() {
                    // Asked again, it says the same.
                    Ok(_) => assert!(length.is_none_or(|length| length == self.sent as usize)),
                    Err(_) if device.flash().is_dead() => {}
                    Err(_) => assert_ne!(length, Some(self.sent as usize)),
                }
                Ok(())
            }
            Step::Confirm => device.confirm().inspect(|()| self.confirmed = self.running),
            Step::Restart | Step::Cut(..) => unreachable!(),
        };
        assert_eq!(result.is_err(), result.is_err() && device.flash().is_dead());
        if device.flash().is_dead() {
            self.restart(None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn in_any_order_the_last_model_that_answered_is_kept(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.restart(None);
        // Whatever happened: the next update succeeds.
        let newest = world.updates[3].clone();
        let mut device = world.device.take().unwrap();
        install(&mut device, &newest).unwrap();
        prop_assert_eq!(device.boot().map(|model| model.version), Some(4));
    }
}
