//! Images as lines of text, what goes of them, and promises that hold for any store.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn name(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Images as `name hours-unused parts`, `*` before the name for one in use; parts as letters of 10 bytes each, upper case ones held.
/// The disk has 100 bytes. What goes is shown as `name why bytes`.
fn check(images: &[&str], used_bytes: u64, room_bytes: u64, expect: &[&str]) {
    let mut parts = BTreeMap::new();
    let mut names = BTreeMap::new();
    let stored = images.iter().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [image, hours, letters] = words[..] else { panic!("{line}") };
        let (in_use, image) = image.strip_prefix('*').map_or((false, image), |rest| (true, rest));
        for letter in letters.chars() {
            parts.insert(name(&letter.to_string()), Part { bytes: 10, is_held: letter.is_uppercase() });
        }
        names.insert(name(image), image);
        let unused_for = HOUR * hours.parse().expect("hours");
        Stored { digest: name(image), in_use, unused_for, parts: letters.chars().map(|c| name(&c.to_string())).collect() }
    });
    let stored: Vec<Stored> = stored.collect();
    let disk = Disk { used_bytes, free_bytes: 100 - used_bytes };
    let policy = Policy { room_bytes, ..Policy::default() };
    let removals = collect(&stored, &parts, disk, &policy);
    let shown = removals.iter().map(|r| format!("{} {:?} {}", names[&r.digest], r.why, r.frees_bytes));
    assert_eq!(shown.collect::<Vec<_>>(), expect, "{images:?} at {used_bytes}");
}

#[test]
fn unused_images_go_after_a_day() {
    check(&["a 23 x", "b 24 y", "c 100 z"], 50, 0, &["c Unused 10", "b Unused 10"]);
    check(&["*a 100 x"], 99, 0, &[]);
    check(&[], 99, 0, &[]);
}

#[test]
fn a_full_disk_is_emptied_down_to_the_low_mark_longest_unused_first() {
    let three = ["a 1 x", "b 3 y", "c 2 z"];
    check(&three, 85, 0, &[]);
    check(&three, 86, 0, &["b DiskFull 10", "c DiskFull 10"]);
    check(&three, 99, 0, &["b DiskFull 10", "c DiskFull 10", "a DiskFull 10"]);
    check(&["a 1 x", "b 30 yz", "c 2 z"], 90, 0, &["b Unused 10", "c DiskFull 10"]);
}

#[test]
fn shared_layers_count_once_and_with_the_last() {
    check(&["a 3 xy", "b 2 xz", "c 1 x"], 86, 0, &["a DiskFull 10", "b DiskFull 10"]);
    check(&["a 3 x", "b 2 x", "c 1 y"], 86, 0, &["a DiskFull 0", "b DiskFull 10", "c DiskFull 10"]);
}

#[test]
fn what_brings_nothing_stays() {
    check(&["*a 0 xy", "b 3 x", "c 2 z", "d 1 Z"], 86, 0, &["c DiskFull 10"]);
    check(&["*a 0 xy", "b 30 x"], 86, 0, &["b Unused 0"]);
}

#[test]
fn a_pull_that_did_not_fit_gets_room_below_the_marks_too() {
    let three = ["a 1 x", "b 3 y", "c 2 z"];
    check(&three, 50, 50, &[]);
    check(&three, 50, 51, &["b DiskFull 10"]);
    check(&three, 50, 70, &["b DiskFull 10", "c DiskFull 10"]);
    check(&three, 50, 90, &["b DiskFull 10", "c DiskFull 10", "a DiskFull 10"]);
}

#[test]
fn ties_are_broken_by_name() {
    let mut expect = [name("a"), name("b")];
    expect.sort();
    let stored = |n: &str| Stored { digest: name(n), in_use: false, unused_for: HOUR * 30, parts: BTreeSet::new() };
    for images in [[stored("a"), stored("b")], [stored("b"), stored("a")]] {
        let removals = collect(&images, &BTreeMap::new(), Disk { used_bytes: 1, free_bytes: 9 }, &Policy::default());
        assert_eq!(removals.into_iter().map(|removal| removal.digest).collect::<Vec<_>>(), expect);
    }
}

/// A generator of numbers that are the same in each run (Marsaglia, "Xorshift RNGs").
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn any_store(numbers: &mut Numbers) -> (Vec<Stored>, BTreeMap<Digest, Part>, Disk) {
    let parts: BTreeMap<Digest, Part> = (0..numbers.below(12))
        .map(|part| (name(&part.to_string()), Part { bytes: numbers.below(50), is_held: numbers.below(8) == 0 }))
        .collect();
    let images = (0..numbers.below(10)).map(|image| Stored {
        digest: name(&format!("image {image}")),
        in_use: numbers.below(3) == 0,
        unused_for: HOUR * u32::try_from(numbers.below(40)).expect("a small number"),
        parts: parts.keys().filter(|_| numbers.below(3) == 0).cloned().collect(),
    });
    let images: Vec<Stored> = images.collect();
    let held: u64 = parts.values().map(|part| part.bytes).sum();
    (images, parts, Disk { used_bytes: held + numbers.below(400), free_bytes: numbers.below(400) })
}

/// What the images that are left hold on the disk.
fn held(images: &[&Stored], parts: &BTreeMap<Digest, Part>) -> u64 {
    let needed: BTreeSet<&Digest> = images.iter().flat_map(|image| &image.parts).collect();
    parts.iter().filter(|(name, part)| part.is_held || needed.contains(name)).map(|(_, part)| part.bytes).sum()
}

#[test]
fn whatever_the_store_the_promises_hold() {
    let mut numbers = Numbers(1);
    for _ in 0..5000 {
        let (images, parts, disk) = any_store(&mut numbers);
        let policy = Policy { room_bytes: numbers.below(300), ..Policy::default() };
        let removals = collect(&images, &parts, disk, &policy);
        let gone: BTreeSet<&Digest> = removals.iter().map(|removal| &removal.digest).collect();
        assert_eq!(gone.len(), removals.len(), "none goes twice");
        let left: Vec<&Stored> = images.iter().filter(|image| !gone.contains(&image.digest)).collect();
        assert!(images.iter().all(|image| !image.in_use || !gone.contains(&image.digest)), "what is in use stays");
        assert!(left.iter().all(|image| image.in_use || image.unused_for < policy.keep), "what is past its time goes");
        let freed: u64 = removals.iter().map(|removal| removal.frees_bytes).sum();
        let all: Vec<&Stored> = images.iter().collect();
        assert_eq!(freed, held(&all, &parts) - held(&left, &parts), "the sums are true");
        let to_free = excess(disk, &policy);
        for (index, removal) in removals.iter().enumerate().filter(|(_, removal)| removal.why == Why::DiskFull) {
            let before: u64 = removals[..index].iter().map(|removal| removal.frees_bytes).sum();
            assert!(before < to_free, "it stops at the mark: {removal:?}");
        }
        let could_bring =
            held(&left, &parts) - held(&left.iter().copied().filter(|image| image.in_use).collect::<Vec<_>>(), &parts);
        assert!(freed >= to_free || could_bring == 0, "it does not stop before");
    }
}
