//! The same when it is the power that goes: what the disk has at that moment is all there is.

use super::{FORMATS, Fixture, PLACES_MAX, Work, is_child, options_of, with_both, with_nothing};
use crate::tests::disks::LoopDisk;
use crate::{FormatChoice, ImageStore};

const DISK_MEBIBYTES: u32 = 64;

/// Cuts the power at every so many places of a work, and recovers each time. Not at all of them: each takes a new file system.
async fn cut(test: &str, work: Work, step: usize, prepare: impl AsyncFn(&Fixture, &ImageStore)) {
    if is_child().await {
        return;
    }
    let fixture = Fixture::new().await;
    let test = format!("tests::crash::power::{test}");
    for (_, format) in FORMATS {
        let mut cuts = 0;
        for at in (4..PLACES_MAX).step_by(step) {
            if !cut_once(&fixture, &test, work, format, at, &prepare).await {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 1, "{format:?}: the power was cut {cuts} times");
    }
}

/// Whether the work was still going on.
async fn cut_once(
    fixture: &Fixture,
    test: &str,
    work: Work,
    format: FormatChoice,
    at: u64,
    prepare: &impl AsyncFn(&Fixture, &ImageStore),
) -> bool {
    let disk = LoopDisk::new(DISK_MEBIBYTES);
    let folder = disk.path().join("store");
    let store = ImageStore::open_with(&folder, options_of(format)).unwrap();
    prepare(fixture, &store).await;
    drop(store);
    let killed = fixture.run(test, work, format, &folder, at).await;
    let after = disk.after_power_cut();
    drop(disk);
    fixture.recover(&after.path().join("store"), format, killed.as_deref().unwrap_or("done")).await;
    killed.is_some()
}

#[tokio::test]
async fn root_the_power_goes_during_a_pull() {
    cut("root_the_power_goes_during_a_pull", Work::Pull, 9, with_nothing).await;
}

#[tokio::test]
async fn root_the_power_goes_during_a_prune() {
    cut("root_the_power_goes_during_a_prune", Work::Prune, 4, with_both).await;
}
