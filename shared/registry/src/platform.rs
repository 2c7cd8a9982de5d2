//! Which image of an index this host wants: operating system, architecture, variant.
//!
//! Variants are ordered (an armv7 host runs v6 images; an x86-64-v3 host runs v2 images), so the best that the host can run is
//! taken. An entry without a variant is the architecture's usual one, as containerd has it: v7 for arm, the baseline for the others.
//! Emulation (binfmt) and the 32-bit modes of 64-bit machines are not considered: a wrong architecture is an error that a person
//! should see.

use crate::manifest::ACCEPTED;
use oci_client::manifest::{ImageIndexEntry, OciImageIndex};
use std::fmt;

/// What a host runs, in the words of the OCI image spec (Go's GOARCH).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlatform {
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// The highest variant that the host runs, as a number: 3 for x86-64-v3, 7 for armv7; 0 where the architecture has none.
    pub variant: u32,
}

impl HostPlatform {
    /// This host's.
    pub fn current() -> HostPlatform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            same => same,
        };
        let variant = match architecture {
            "amd64" => amd64_level(),
            "arm64" => 8,
            "arm" => 7,
            _ => 0,
        };
        HostPlatform { architecture: architecture.to_owned(), variant }
    }

    /// The best entry of the index for this host. Entries that are no images (attestations, signatures) are passed over.
    pub fn select<'a>(&self, index: &'a OciImageIndex) -> Option<&'a ImageIndexEntry> {
        let mut images = index.manifests.iter().filter(|entry| is_image(entry));
        if let (Some(only), None) = (images.next(), images.next())
            && only.platform.is_none()
        {
            return Some(only);
        }
        index
            .manifests
            .iter()
            .filter(|entry| is_image(entry))
            .filter_map(|entry| {
                let platform = entry.platform.as_ref()?;
                let architecture = platform.architecture.to_string();
                let fits = platform.os.to_string() == "linux" && architecture == self.architecture;
                let rank = variant_number(&architecture, platform.variant.as_deref())?;
                (fits && rank <= self.variant).then_some((rank, entry))
            })
            // The first of equals, as the index's author ordered them.
            .rev()
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }

    /// What the index offers instead, for the error.
    pub fn offered(index: &OciImageIndex) -> String {
        let offers: Vec<String> = index
            .manifests
            .iter()
            .filter(|entry| is_image(entry))
            .filter_map(|entry| entry.platform.as_ref())
            .map(|platform| {
                let variant = platform.variant.as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
                format!("{}/{}{variant}", platform.os, platform.architecture)
            })
            .collect();
        if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") }
    }
}

impl fmt::Display for HostPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

/// Builders put attestations beside images, under a platform that no host has; other things have a type of their own.
fn is_image(entry: &ImageIndexEntry) -> bool {
    let is_unknown = entry.platform.as_ref().is_some_and(|platform| platform.os.to_string() == "unknown");
    !is_unknown && ACCEPTED.contains(&entry.media_type.as_str()) && entry.artifact_type.is_none()
}

/// `v7` is 7; a variant that is no number is none that we know.
fn variant_number(architecture: &str, variant: Option<&str>) -> Option<u32> {
    match variant {
        None | Some("") if architecture == "arm" => Some(7),
        None | Some("") => Some(0),
        Some(variant) => variant.strip_prefix('v')?.parse().ok(),
    }
}

/// The x86-64 psABI level.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> u32 {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("popcnt") && has!("ssse3") && has!("cmpxchg16b");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("lzcnt") && has!("movbe") && has!("f16c");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    1 + u32::from(v2) + u32::from(v3) + u32::from(v4)
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> u32 {
    1
}
