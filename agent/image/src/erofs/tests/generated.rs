//! Trees made by chance, from fixed seeds: a failing one is found again by its number.

use super::{Garden, check, write};
use crate::tree::What;
use fastrand::Rng;
use std::collections::BTreeSet;

#[test]
fn trees_of_every_shape() {
    for seed in 0..60 {
        check(generated(seed));
    }
}

pub(crate) fn generated(seed: u64) -> Garden {
    let mut rng = Rng::with_seed(seed);
    let mut garden = Garden::new();
    let mut folders = vec![0];
    let mut files = Vec::new();
    let count = up_to(&mut rng, 0, [10, 100, 600]);
    for number in 0..count {
        let folder = folders[rng.usize(0..folders.len())];
        // The number makes names unique.
        let name = format!("{}{number}", "x".repeat(up_to(&mut rng, 0, [3, 40, 240])));
        let inode = match rng.u8(0..12) {
            0..3 => {
                let inode = garden.folder(folder, name);
                folders.push(inode);
                inode
            }
            3..7 => {
                let mut content = vec![0; up_to(&mut rng, 0, [2, 600, 20_000])];
                rng.fill(&mut content);
                let inode = garden.file(folder, name, rng.u16(0..4), &content);
                files.push(inode);
                inode
            }
            7 => garden.symlink(folder, name, vec![b't'; up_to(&mut rng, 1, [20, 500, 4095])]),
            8 => garden.add(folder, name, What::Fifo),
            9 => garden.add(folder, name, What::CharDevice { major: rng.u32(0..4096), minor: rng.u32(0..1 << 20) }),
            10 => garden.add(folder, name, What::BlockDevice { major: rng.u32(0..4096), minor: rng.u32(0..1 << 20) }),
            _ => {
                if let Some(file) = rng.choice(&files) {
                    garden.name(folder, name, *file);
                }
                continue;
            }
        };
        decorate(&mut garden, inode, &mut rng);
    }
    garden
}

fn decorate(garden: &mut Garden, number: u32, rng: &mut Rng) {
    let inode = garden.at(number);
    inode.uid = rng.u32(0..u32::MAX);
    inode.gid = rng.u32(0..70_000);
    inode.mtime_s = rng.i64(-5_000_000_000..20_000_000_000);
    inode.mtime_ns = rng.u32(0..1_000_000_000);
    let is_link = matches!(inode.what, What::Symlink { .. });
    if !is_link {
        inode.mode = rng.u16(0..0o10000);
    }
    if rng.u8(0..4) == 0 {
        let value = vec![b'v'; up_to(rng, 0, [10, 500, 9000])];
        let other = vec![b'o'; rng.usize(0..30)];
        // Links, FIFOs and devices cannot have those of users.
        garden.xattrs(number, &[("security.a", &other), ("security.b", &value)]);
    }
}

/// Mostly small numbers: at least `least`, below one of the ends.
fn up_to(rng: &mut Rng, least: usize, ends: [usize; 3]) -> usize {
    let end = ends[rng.usize(0..3)];
    rng.usize(least..end)
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_another_one_another_uuid() {
    let bytes = |seed| {
        let (tree, devices) = generated(seed).grow();
        let sizes: Vec<u64> = devices.iter().map(|bytes| bytes.len() as u64).collect();
        let mut image = Vec::new();
        write(&tree, &sizes, &mut image).unwrap();
        image
    };
    assert_eq!(bytes(3), bytes(3));
    let images: BTreeSet<Vec<u8>> = (0..60).map(bytes).collect();
    let uuids: BTreeSet<&[u8]> = images.iter().map(|image| &image[1024 + 48..][..16]).collect();
    assert_eq!(uuids.len(), images.len());
}
