//! What an OCI runtime must be told that we do ourselves otherwise: the system call filter and the device rules, in its own words.
//!
//! Deliberately absent: limits. The container's groups have them before the runtime is called, and it is told of none.

use std::ffi::OsStr;

use serde_json::Value;

use super::cgroup::oci_device_rules;
use super::error::RuntimeError;
use super::seccomp;
use super::{Backend, ContainerSpec};

/// Completes `config.json` for the runtime of `spec`, if it has one.
pub(super) fn complete(oci: &mut Value, spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let Backend::External(program) = &spec.backend else { return Ok(()) };
    // crun leaves devices alone unless it is told of them; others have rules of their own that would forbid the document's.
    if program.file_name() != Some(OsStr::new("crun")) {
        oci["linux"]["resources"] = serde_json::json!({ "devices": oci_device_rules(spec)? });
    }
    if let Some(profile) = seccomp::json::of(spec) {
        oci["linux"]["seccomp"] = profile;
    }
    Ok(())
}
