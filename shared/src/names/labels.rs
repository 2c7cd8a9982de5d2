//! Labels: what a host says of itself so that documents can select it (`role = "web"`).

use super::NameError;
use std::collections::BTreeMap;

/// Longest label key or value, in bytes. Long enough for a DNS name, short enough for a column.
const LABEL_MAX_BYTES: usize = 253;

/// A host's labels, in the order of their keys.
pub type Labels = BTreeMap<String, String>;

/// Accepts a label's key: letters, digits, `.`, `_`, `-`, `/`, starting with a letter or digit.
pub fn check_label_key(key: &str) -> Result<(), NameError> {
    let good = key.starts_with(|c: char| c.is_ascii_alphanumeric()) && key.bytes().all(|b| is_label_byte(b) || b == b'/');
    if good && key.len() <= LABEL_MAX_BYTES {
        Ok(())
    } else {
        Err(NameError::new("label key", key, "must start with a letter or digit and hold only letters, digits and . _ - /"))
    }
}

/// Accepts a label's value: letters, digits, `.`, `_`, `-`; may be empty.
pub fn check_label_value(value: &str) -> Result<(), NameError> {
    if value.bytes().all(is_label_byte) && value.len() <= LABEL_MAX_BYTES {
        Ok(())
    } else {
        Err(NameError::new("label value", value, "must hold only letters, digits and . _ -"))
    }
}

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}
