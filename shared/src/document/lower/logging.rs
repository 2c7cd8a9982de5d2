//! `[logging]`: where the container's output goes.

use super::choice::choice;
use crate::document::parts::{LogDriver, Logging};
use crate::document::raw::{Mistakes, field};
use crate::quantity::ByteSize;
use toml::de::DeTable;

/// Smallest file: a few hundred lines, so that a rotation stays rare beside them.
const SIZE_MIN: ByteSize = ByteSize(64 * 1024);
/// Most files that are kept: each rotation renames them all.
const FILES_MAX: u32 = 1000;
/// Least rate: a line in a moment gets through.
const RATE_MIN: ByteSize = ByteSize(1024);

pub(super) fn logging(table: &DeTable<'_>, mistakes: &mut Mistakes) -> Logging {
    let key = |name| field(table, "logging", name);
    let drivers = [("json-file", LogDriver::JsonFile), ("journald", LogDriver::Journald), ("none", LogDriver::None)];
    Logging {
        driver: key("driver").and_then(|field| choice(&field, &drivers, mistakes)).unwrap_or_default(),
        max_size: key("max_size").and_then(|field| field.size(SIZE_MIN, mistakes)),
        max_files: key("max_files").and_then(|field| field.integer(1..=FILES_MAX, mistakes)),
        rate: key("rate").and_then(|field| field.size(RATE_MIN, mistakes)),
    }
}
