//! How long it takes to put many small files into a cache, to compare them with its list, and to put one more.
//!
//! ```sh
//! cargo bench -p coord-cache
//! TMPDIR=/dev/shm cargo bench -p coord-cache    # without the disk, which makes most files of some file systems wait
//! ```

use coord_cache::{Budget, Mounts, Store, compare};
use coord_tar::{END_BYTES, Entry, padding, write_header};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use tempfile::TempDir;

const FILES: usize = 1000;
const FILE_BYTES: usize = 1024;

criterion_group! { name = benches; config = Criterion::default().sample_size(10); targets = puts, compares }
criterion_main!(benches);

fn puts(criterion: &mut Criterion) {
    let archive = archive();
    let put = |(_folder, store): &mut (TempDir, Store)| put_all(store, &archive);
    criterion.bench_function("put 1000 files", |bencher| bencher.iter_batched_ref(empty, put, BatchSize::PerIteration));
    let filled = || {
        let made = empty();
        put_all(&made.1, &archive);
        made
    };
    let one_more = |(_folder, store): &mut (TempDir, Store)| {
        let staged = store.stage_file(b"one/more", 0o644, b"x".as_slice(), Budget::new(Vec::new())).expect("a file");
        store.commit(staged, &BTreeSet::new()).expect("a put")
    };
    criterion.bench_function("put one more", |bencher| bencher.iter_batched_ref(filled, one_more, BatchSize::PerIteration));
}

fn compares(criterion: &mut Criterion) {
    let (_folder, store) = empty();
    put_all(&store, &archive());
    criterion.bench_function("compare 1000 files", |bencher| {
        bencher.iter(|| {
            let list = store.list_of(store.current()).expect("a list");
            let opened = File::open(store.files(store.current())).map(OwnedFd::from).expect("a folder");
            compare(&opened, &list, Mounts::Refuse).expect("the same")
        });
    });
}

fn empty() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::create(&folder.path().join("cache"), b"").expect("a store");
    (folder, store)
}

fn put_all(store: &Store, archive: &[u8]) {
    let staged = store.stage_archive(b"", archive, Budget::new(Vec::new())).expect("an archive");
    store.commit(staged, &BTreeSet::new()).expect("a put");
}

fn archive() -> Vec<u8> {
    let mut archive = Vec::new();
    for number in 0..FILES {
        let path = format!("folder-{}/file-{number}", number % 10).into_bytes();
        let entry = Entry { path, mode: 0o644, size: FILE_BYTES as u64, ..Entry::default() };
        write_header(&mut archive, &entry).expect("memory takes all");
        archive.extend((0..FILE_BYTES).map(|at| (at ^ number).to_le_bytes()[0]));
        archive.resize(archive.len() + padding(FILE_BYTES as u64), 0);
    }
    archive.resize(archive.len() + END_BYTES, 0);
    archive
}
