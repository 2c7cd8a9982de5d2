//! Index files for the fuzzer to begin with: of each archive in one folder, into another.

use coord_image::fuzzing::Layer;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = std::env::args().skip(1);
    let (from, to) = (folders.next().ok_or("from which folder?")?, folders.next().ok_or("into which folder?")?);
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let layer = Layer::read(&std::fs::read(entry.path())?)?;
        let mut index = layer.encode();
        // The target puts the checksum there.
        index.truncate(index.len() - 4);
        std::fs::write(format!("{to}/{}", entry.file_name().display()), index)?;
    }
    Ok(())
}
