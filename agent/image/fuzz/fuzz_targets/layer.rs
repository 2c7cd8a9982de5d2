//! Any bytes as a layer's archive: refused, or a tree that keeps its promises, alone and merged with itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coord_image::fuzzing::layer(bytes);
    coord_image::fuzzing::sealed_layer(bytes);
});
