//! Any bytes as a layer's index file: refused, or a tree that keeps its promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coord_image::fuzzing::index(bytes);
});
