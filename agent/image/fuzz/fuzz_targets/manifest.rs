//! Any bytes as what a registry answers: a manifest or an index, and the text of its challenge.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coord_registry::fuzzing::manifest(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        coord_registry::fuzzing::challenge(text);
    }
});
