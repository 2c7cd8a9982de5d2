//! Which files of a folder are documents, and which workload each declares.

use crate::names::{NameError, WorkloadName};

/// The workload that a file of this name (without folder) declares: `web.toml` is the document of `web`.
///
/// None for files that are no documents: other extensions, hidden files, and what editors leave beside a file while they save it
/// (`.web.toml.swp`, `web.toml~`, `#web.toml#`, `4913`). An error for a document whose stem is no workload name.
pub fn workload_name(file_name: &str) -> Option<Result<WorkloadName, NameError>> {
    if file_name.starts_with(['.', '#']) {
        return None;
    }
    file_name.strip_suffix(".toml").map(str::parse)
}
