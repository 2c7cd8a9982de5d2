//! Expected texts in files of their own, so that they can be read as a user sees them.

use std::path::Path;

/// Compares byte by byte with the file, whose path is relative to the crate. `UPDATE_EXPECT=1` writes the file instead.
pub(crate) fn expect(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("create the folder");
        std::fs::write(&path, actual).expect("write the expected text");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{file} differs; run again with UPDATE_EXPECT=1 and look at the change\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}
