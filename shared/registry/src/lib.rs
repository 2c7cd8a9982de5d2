//! A client of OCI registries: credentials, manifests that are what their digest says, and streams of blobs.
//!
//! ```text
//!   config.rs, docker_config.rs   which scheme, authority and credentials a reference gets
//!   client.rs                     resolve, manifest, blob: what callers use
//!   auth.rs                       401 -> challenge -> Basic or Bearer, tokens kept until they expire
//!   answer.rs                     status -> error, bodies with a limit
//!   blob.rs                       a body that may not stall
//!   manifest.rs, platform.rs      what came, and which part of an index this host wants
//! ```
//!
//! Deliberately absent: retries (the caller knows what it has already and how long it may wait; `RegistryError::is_retryable` says
//! whether it is worth it), storing anything, pushing, credential helper programs, mirrors.

mod answer;
mod auth;
mod blob;
mod chain;
mod client;
mod clock;
mod config;
mod docker_config;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod manifest;
mod platform;
#[cfg(test)]
mod tests;

pub use blob::BlobStream;
pub use chain::chain;
pub use client::{Registry, Timeouts};
pub use config::RegistryConfig;
pub use error::RegistryError;
pub use manifest::{MANIFEST_MAX_BYTES, ManifestOrIndex};
pub use platform::HostPlatform;
