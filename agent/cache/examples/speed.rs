//! How long it takes to put many small files into a cache, to compare them with its list, and to put one more:
//! `cargo run --release -p coord-cache --example speed -- 1000 1024`.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and says what it has measured")]

use coord_cache::{Budget, Mounts, Store, compare};
use coord_tar::{END_BYTES, Entry, padding, write_header};
use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let files: usize = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("coord-cache-speed-{}", std::process::id()));
    let archive = archive(files, bytes)?;
    let store = Store::create(&folder, b"")?;
    let none = BTreeSet::new();
    let began = Instant::now();
    store.commit(store.stage_archive(b"", archive.as_slice(), Budget::new(Vec::new()))?, &none)?;
    println!("put {files} files of {bytes} bytes: {:?}", began.elapsed());
    for _ in 0..3 {
        let began = Instant::now();
        let list = store.list_of(store.current())?;
        let read = began.elapsed();
        let opened = OwnedFd::from(File::open(store.files(store.current()))?);
        let verified = compare(&opened, &list, Mounts::Refuse)?;
        println!("compare {} files: {:?}, of that {read:?} to read the list", verified.files, began.elapsed());
    }
    let began = Instant::now();
    store.commit(store.stage_file(b"one/more", 0o644, b"x".as_slice(), Budget::new(Vec::new()))?, &none)?;
    println!("put one more: {:?}", began.elapsed());
    let began = Instant::now();
    Store::remove(&folder)?;
    println!("remove: {:?}", began.elapsed());
    Ok(())
}

fn archive(files: usize, bytes: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = Vec::new();
    for number in 0..files {
        let path = format!("folder-{}/file-{number}", number % 10).into_bytes();
        write_header(&mut archive, &Entry { path, mode: 0o644, size: bytes as u64, ..Entry::default() })?;
        archive.extend((0..bytes).map(|at| (at ^ number).to_le_bytes()[0]));
        archive.resize(archive.len() + padding(bytes as u64), 0);
    }
    archive.resize(archive.len() + END_BYTES, 0);
    Ok(archive)
}
