//! The power fails at every single write and erase.

use super::device::{Update, install, installed, powered, started, update, upload};
use super::nor::{Nor, Tear, Torn};

/// Operations of an undisturbed installation.
fn operations<const WRITE: usize, const ERASE: usize>(
    flash: &Nor<WRITE, ERASE>,
    new: &Update,
) -> usize {
    let (flash, model) = powered(flash.clone(), None, |device| install(device, new));
    assert!(model.unwrap().is_some_and(|model| model.on_trial));
    flash.operations
}

/// Starts the device after a failure: it must run the old or the new model.
/// Then the update is done again, without a failure or with one more.
fn recover<const WRITE: usize, const ERASE: usize>(
    flash: Nor<WRITE, ERASE>,
    models: [&Update; 2],
    cut: Option<(usize, Tear)>,
) -> Nor<WRITE, ERASE> {
    let [_, new] = models;
    let (flash, installation) = powered(flash, cut, |device| install(device, new));
    assert_eq!(installation.is_err(), flash.is_dead() && cut.is_some());
    let (flash, which) = started(flash, &models);
    if cut.is_none() {
        assert_eq!(which, Some(1), "the update can be repeated");
        let (flash, again) = started(flash, &models);
        assert_eq!(again, Some(1), "and it has come to stay");
        return flash;
    }
    assert!(which.is_some(), "there is always a model");
    // Without an answer, the next start may fall back, but to a model.
    let (flash, which) = started(flash, &models);
    assert!(which.is_some(), "there is always a model to fall back to");
    flash
}

/// Cuts at each operation of an update from `old` to `new`, in each way.
fn cut_everywhere<const WRITE: usize, const ERASE: usize>(
    slot: usize,
    history: &[&Update],
    reads: Torn,
) {
    let [.., old] = history else { unreachable!() };
    let new = update(9, old.blob.len() + 700);
    let models = [*old, &new];
    let mut flash = installed::<WRITE, ERASE>(slot, history);
    flash.reads = reads;
    let count = operations(&flash, &new);
    let least = 4 + new.blob.len().div_ceil(256) + new.blob.len() / ERASE;
    assert!(count >= least, "{count} operations are not all of them");
    let mut starts = [0, 0];
    for at in 0..count {
        for tear in Tear::ALL {
            let cut = Some((at, tear));
            let (torn, result) = powered(flash.clone(), cut, |device| install(device, &new));
            assert!(result.is_err() && torn.is_dead());
            let (_, which) = started(torn.clone(), &models);
            starts[which.expect("there is always a model")] += 1;
            recover(torn.clone(), models, None);
            // As if the user had waited for the fallback.
            let (torn, _) = started(torn, &models);
            let (torn, _) = started(torn, &models);
            recover(torn, models, None);
        }
    }
    println!(
        "{WRITE}/{ERASE}, {reads:?}: {count} operations, {} cuts; old model {}, new model {}",
        5 * count,
        starts[0],
        starts[1]
    );
    assert!(starts[0] > 0 && starts[1] > 0);
}

#[test]
fn a_cut_at_any_operation_leaves_the_old_model_or_the_new_one() {
    let [first, second] = [update(1, 9_000), update(2, 7_777)];
    // A flash that has had one model, and one with a model in both slots.
    let reads = Torn::Settled;
    cut_everywhere::<256, 4096>(5 * 4096, &[&first], reads);
    cut_everywhere::<256, 4096>(5 * 4096, &[&first, &second], reads);
    // Other write and erase sizes: NOR by the byte, small sectors, a flash
    // whose words must be whole, sectors larger than the journal.
    cut_everywhere::<1, 4096>(5 * 4096, &[&first, &second], reads);
    cut_everywhere::<4, 1024>(16 * 1024, &[&first, &second], reads);
    cut_everywhere::<32, 16384>(16384, &[&first, &second], reads);
}

/// The words of an STM32H7 are 32 bytes; a torn one can never be read again until it
/// is erased.
#[test]
fn flash_that_reports_what_is_torn_takes_the_update_again() {
    let [first, second] = [update(1, 9_000), update(2, 7_777)];
    for history in [&[&first][..], &[&first, &second]] {
        cut_everywhere::<256, 4096>(5 * 4096, history, Torn::Reports);
        cut_everywhere::<32, 16384>(16384, history, Torn::Reports);
    }
}

#[test]
fn flash_that_reads_now_so_and_now_so_takes_the_update_again() {
    let [first, second] = [update(1, 9_000), update(2, 7_777)];
    for history in [&[&first][..], &[&first, &second]] {
        cut_everywhere::<256, 4096>(5 * 4096, history, Torn::Flickers);
        cut_everywhere::<32, 16384>(16384, history, Torn::Flickers);
    }
}

/// Whatever a torn page reads as, a device keeps to what it found first.
#[test]
fn a_journal_that_reads_differently_twice_is_settled_by_the_first_reading() {
    let [old, new] = [update(1, 1_100), update(2, 1_800)];
    let models = [&old, &new];
    let mut flash = installed::<256, 4096>(2 * 4096, &[&old]);
    let count = operations(&flash, &new);
    let mut answered = [0, 0];
    for reads in [Torn::Flickers, Torn::Reports] {
        flash.reads = reads;
        for (at, tear) in (0..count).flat_map(|at| Tear::ALL.map(|tear| (at, tear))) {
            for seed in 0..20 {
                flash.stir(seed);
                let cut = Some((at, tear));
                let (torn, _) = powered(flash.clone(), cut, |device| install(device, &new));
                // What has answered stays, whatever is read later.
                let (kept, version) = powered(torn.clone(), None, |device| {
                    let model = device.boot().expect("there is always a model");
                    device.confirm().unwrap();
                    model.version
                });
                answered[version as usize - 1] += 1;
                starts_always(kept, models, version);
                // A trial may come first; then the choice is for good.
                let (torn, _) = started(torn, &models);
                let (torn, version) = powered(torn, None, |device| device.boot().unwrap().version);
                starts_always(torn, models, version);
            }
        }
    }
    println!(
        "{count} operations; the old model answered {} times, the new one {}",
        answered[0], answered[1]
    );
    assert!(answered[0] > 0 && answered[1] > 0);
}

fn starts_always(mut flash: Nor<256, 4096>, models: [&Update; 2], version: u32) {
    for _ in 0..6 {
        let which;
        (flash, which) = started(flash, &models);
        assert_eq!(which, Some(version as usize - 1));
    }
}

#[test]
fn a_second_cut_while_recovering_does_no_harm() {
    let [old, new] = [update(1, 1_100), update(2, 1_800)];
    let models = [&old, &new];
    let flash = installed::<256, 4096>(2 * 4096, &[&old]);
    let count = operations(&flash, &new);
    for at in 0..count {
        for tear in Tear::ALL {
            let cut = Some((at, tear));
            let (torn, _) = powered(flash.clone(), cut, |device| install(device, &new));
            // Confirming what was on trial costs an operation more.
            for again in 0..=count {
                for tear in Tear::ALL {
                    let torn = recover(torn.clone(), models, Some((again, tear)));
                    recover(torn, models, None);
                }
            }
        }
    }
    println!("{} pairs of cuts", 25 * count * (count + 1));
}

#[test]
fn a_device_that_fails_at_each_start_of_a_trial_falls_back() {
    let [old, new] = [update(1, 1_100), update(2, 1_800)];
    let flash = installed::<256, 4096>(2 * 4096, &[&old]);
    let (mut flash, uploaded) = powered(flash, None, |device| {
        device.boot();
        upload(device, &new)
    });
    uploaded.unwrap();
    // The mark of the trial never gets written as a whole, and each attempt
    // spoils a page; 13 are free after the head and the first two marks.
    for _ in 0..13 {
        let (torn, model) = powered(flash, Some((0, Tear::Scattered)), |device| device.boot());
        assert!(torn.is_dead() && model.is_none());
        flash = torn;
    }
    let (flash, which) = started(flash, &[&old, &new]);
    assert_eq!(which, Some(0));
    recover(flash, [&old, &new], None);
}
