//! Mounting for real: each way that this kernel has, and everything that may be in the way.

mod chain;
mod overlay;

use super::attach::{self, Detached};
use super::{Backing, Host, Source, clear, is_mounted, mount_source, mounted_in, probe, table};
use crate::erofs::tests::{Garden, Planted, expected, observed, plant};
use crate::store::FormatChoice;
use crate::tree::MergedTree;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// A store's folder, as far as mounts need one. Nothing stays mounted.
struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Store {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        Store { dir }
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("mnt").join("chain")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for place in mounted_in(&self.dir.path().join("mnt")).unwrap_or_default() {
            let _ = clear(&place);
        }
    }
}

fn host(backing: Backing, direct_io: bool) -> Host {
    Host { kernel: String::new(), backing: Some(backing), direct_io, shortcomings: Vec::new() }
}

/// A small image in the store's folder.
fn image(store: &Store) -> (MergedTree, Vec<Vec<u8>>, Planted) {
    let mut garden = Garden::new();
    let folder = garden.folder(0, "folder");
    for size in [0, 1, 600, 5000, 100_000_u32] {
        let content: Vec<u8> = (0..size).map(|at| (at / 3).to_le_bytes()[0]).collect();
        garden.file(folder, format!("a{size}"), 0, &content);
        garden.file(folder, format!("b{size}"), 1, &content);
    }
    let (tree, devices) = garden.grow();
    let planted = plant(&tree, &devices, store.dir.path());
    (tree, devices, planted)
}

fn mount_once(host: &Host, store: &Path, source: &Source<'_>, place: &Path) -> Result<(), crate::error::StoreError> {
    if is_mounted(store, place)? { Ok(()) } else { mount_source(host, source, place) }
}

#[test]
fn this_kernel_reads_in_every_way() {
    let store = Store::new();
    let (tree, devices, planted) = image(&store);
    for (backing, direct_io) in [(Backing::File, false), (Backing::File, true), (Backing::Loop, false)] {
        let mounted = attach::erofs(&planted.meta, &planted.devices, backing, direct_io).unwrap();
        assert_eq!(observed(&path_of(&mounted)), expected(&tree, &devices), "{backing:?} {direct_io}");
    }
}

fn path_of(mounted: &Detached) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/", mounted.root().as_raw_fd()))
}

#[test]
fn a_probe_finds_the_best_way() {
    let store = Store::new();
    let found = |choice| probe(store.dir.path(), choice);
    let best = found(FormatChoice::Auto);
    assert_eq!((best.backing, best.direct_io, &best.shortcomings[..]), (Some(Backing::File), true, &[][..]));
    let loops = found(FormatChoice::Loop);
    assert_eq!((loops.backing, loops.direct_io, loops.shortcomings.len()), (Some(Backing::Loop), false, 1));
    let directories = found(FormatChoice::Directories);
    assert_eq!((directories.backing, directories.shortcomings.len()), (None, 1));
    // A damaged trial proves nothing.
    std::fs::write(store.dir.path().join("trial/meta"), b"").unwrap();
    assert_eq!(found(FormatChoice::Auto), best);
}

#[test]
fn a_store_in_memory_takes_loop_devices() {
    let store = Store::new();
    let dir = store.dir.path().join("mnt").join("memory");
    std::fs::create_dir(&dir).unwrap();
    rustix::mount::mount("tmpfs", &dir, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    let host = probe(&dir, FormatChoice::Auto);
    assert_eq!(host.backing, Some(Backing::Loop));
    assert_eq!(
        host.shortcomings[0].problem,
        "EROFS cannot be mounted from files here; that takes Linux 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE, and a file \
         system other than tmpfs"
    );
}

#[test]
fn a_chain_is_mounted_once() {
    let store = Store::new();
    let (tree, devices, planted) = image(&store);
    for backing in [Backing::File, Backing::Loop] {
        let mount = || {
            let source = Source { meta: &planted.meta, devices: &planted.devices };
            mount_once(&host(backing, false), store.dir.path(), &source, &store.place()).unwrap();
        };
        mount();
        let first = std::fs::metadata(store.place()).unwrap();
        mount();
        assert_eq!(device(&first), device(&std::fs::metadata(store.place()).unwrap()));
        assert_eq!(table::mounts_in(&store.dir.path().join("mnt")).unwrap().len(), 1);
        assert_eq!(observed(&store.place()), expected(&tree, &devices));
        clear(&store.place()).unwrap();
        assert!(mounted_in(&store.dir.path().join("mnt")).unwrap().is_empty());
        clear(&store.place()).unwrap();
    }
}

fn device(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::dev(meta)
}

#[test]
fn what_somebody_else_mounted_there_is_taken_away() {
    let store = Store::new();
    let (tree, devices, planted) = image(&store);
    let source = Source { meta: &planted.meta, devices: &planted.devices };
    let mount = || mount_once(&host(Backing::File, true), store.dir.path(), &source, &store.place()).unwrap();
    let cover = || rustix::mount::mount("tmpfs", store.place(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    std::fs::create_dir(store.place()).unwrap();
    cover();
    cover();
    mount();
    assert_eq!(observed(&store.place()), expected(&tree, &devices));
    cover();
    mount();
    assert_eq!(observed(&store.place()), expected(&tree, &devices));
    // Another image from elsewhere, at this place.
    clear(&store.place()).unwrap();
    let other = Store::new();
    let foreign = image(&other).2;
    attach::erofs(&foreign.meta, &foreign.devices, Backing::File, false).unwrap().attach(&store.place()).unwrap();
    mount();
    assert_eq!(table::mounts_in(&store.dir.path().join("mnt")).unwrap()[0].source, planted.meta);
}

#[test]
fn a_mount_outlives_its_place_and_its_files_while_it_is_used() {
    let store = Store::new();
    let (_, devices, planted) = image(&store);
    let source = Source { meta: &planted.meta, devices: &planted.devices };
    mount_once(&host(Backing::File, true), store.dir.path(), &source, &store.place()).unwrap();
    let used = std::fs::File::open(store.place().join("folder/a100000")).unwrap();
    clear(&store.place()).unwrap();
    for path in planted.devices.iter().chain([&planted.meta]) {
        std::fs::remove_file(path).unwrap();
    }
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut &used, &mut content).unwrap();
    assert!(devices[0].ends_with(&[&content[..], &vec![0; 100_000_usize.next_multiple_of(512) - 100_000]].concat()));
}

#[test]
fn places_with_long_and_odd_names() {
    let store = Store::new();
    for name in ["a b", "a,b=c:d\\e\\040", "line\nend", &"x".repeat(250)] {
        let dir = store.dir.path().join(name).join(name);
        std::fs::create_dir_all(dir.join("mnt")).unwrap();
        let mut garden = Garden::new();
        garden.file(0, "file", 0, b"content");
        let (tree, devices) = garden.grow();
        let planted = plant(&tree, &devices, &dir);
        for backing in [Backing::File, Backing::Loop] {
            let place = dir.join("mnt").join("chain");
            let source = Source { meta: &planted.meta, devices: &planted.devices };
            for _ in 0..2 {
                mount_once(&host(backing, false), &dir, &source, &place).unwrap();
                assert_eq!(std::fs::read(place.join("file")).unwrap(), b"content");
                assert_eq!(table::mounts_in(&dir.join("mnt")).unwrap().len(), 1, "{name}");
            }
            clear(&place).unwrap();
        }
    }
}

#[test]
fn a_broken_image_is_an_error_and_leaves_nothing_mounted() {
    let store = Store::new();
    let (_, _, planted) = image(&store);
    let place = store.place();
    let check = |meta: &Path, devices: &[PathBuf]| {
        let source = Source { meta, devices };
        mount_once(&host(Backing::File, false), store.dir.path(), &source, &place).unwrap_err();
        assert!(mounted_in(&store.dir.path().join("mnt")).unwrap().is_empty());
    };
    check(&planted.meta, &planted.devices[..1]);
    check(&planted.meta, &[planted.devices[0].clone(), store.dir.path().join("none")]);
    check(&store.dir.path().join("none"), &planted.devices);
    let mut image = std::fs::read(&planted.meta).unwrap();
    image[1024 + 60] ^= 1;
    std::fs::write(&planted.meta, &image).unwrap();
    check(&planted.meta, &planted.devices);
    std::fs::write(&planted.meta, b"").unwrap();
    check(&planted.meta, &planted.devices);
}
