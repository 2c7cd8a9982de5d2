//! A client of OCI registries: credentials, manifests that are what their digest says, and streams of blobs.
//!
//! ```text
//!   config.rs            what an operator says of a registry
//!   route.rs             which places may serve a reference, and which of them are well
//!   client.rs, round.rs  resolve, manifest, blob: what callers use; one place after the other
//!   send.rs              one request to one place
//!   http.rs              whom a connection trusts, and which proxy it goes through
//!   auth.rs, logins/     401 -> challenge -> Basic or Bearer, tokens kept until they expire; where the passwords come from
//!   answer.rs            status -> error, bodies with a limit
//!   blob.rs              a body that may not stall, and goes on elsewhere
//!   manifest.rs, platform.rs   what came, and which part of an index this host wants
//! ```
//!
//! Deliberately absent: retries of the same place (the caller knows what it has already and how long it may wait;
//! `RegistryError::is_retryable` says whether it is worth it), storing anything, pushing.

mod answer;
mod auth;
mod blob;
mod chain;
mod client;
mod clock;
mod config;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod http;
mod logins;
mod manifest;
mod platform;
mod round;
mod route;
mod send;
#[cfg(test)]
mod tests;

pub use blob::BlobStream;
pub use chain::chain;
pub use client::{Mirror, Registry, Timeouts};
pub use config::RegistryConfig;
pub use error::RegistryError;
pub use logins::login_files;
pub use manifest::{MANIFEST_MAX_BYTES, ManifestOrIndex};
pub use platform::HostPlatform;
