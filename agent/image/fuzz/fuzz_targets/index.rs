//! Any bytes as a layer's index file: refused, or a tree that keeps its promises.
//!
//! A fuzzer finds no index by itself, so it begins with those of the archives in the folder `SEEDS_FROM`, put into `SEEDS_TO`.
#![no_main]

use coord_image::fuzzing::{Layer, index};
use std::error::Error;

libfuzzer_sys::fuzz_target!(init: make_seeds().expect("the folders of seeds are there"), |bytes: &[u8]| {
    index(bytes);
});

fn make_seeds() -> Result<(), Box<dyn Error>> {
    let (Ok(from), Ok(to)) = (std::env::var("SEEDS_FROM"), std::env::var("SEEDS_TO")) else { return Ok(()) };
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let mut seed = Layer::read(&std::fs::read(entry.path())?)?.encode();
        // The checksum is put there by the check.
        seed.truncate(seed.len() - 4);
        std::fs::write(format!("{to}/{}", entry.file_name().display()), seed)?;
    }
    Ok(())
}
