//! Which image of an index this host wants: operating system, architecture, variant.
//!
//! Variants are ordered (an armv7 host runs v6 images; an x86-64-v3 host runs v2 images), so the best that the host can run is
//! taken, and an entry without a variant is the baseline. Emulation (binfmt) is not considered: a wrong architecture is an error
//! that a person should see.

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

    /// The best entry of the index for this host.
    pub fn select<'a>(&self, index: &'a OciImageIndex) -> Option<&'a ImageIndexEntry> {
        if let [only] = index.manifests.as_slice()
            && only.platform.is_none()
        {
            return Some(only);
        }
        index
            .manifests
            .iter()
            .filter_map(|entry| {
                let platform = entry.platform.as_ref()?;
                let fits = platform.os.to_string() == "linux" && platform.architecture.to_string() == self.architecture;
                let rank = variant_number(platform.variant.as_deref())?;
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
            .filter_map(|entry| entry.platform.as_ref())
            .map(|platform| {
                let variant = platform.variant.as_ref().map_or_else(String::new, |variant| format!("/{variant}"));
                format!("{}/{}{variant}", platform.os, platform.architecture)
            })
            .filter(|offer| offer != "unknown/unknown")
            .collect();
        if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") }
    }
}

impl fmt::Display for HostPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)
    }
}

/// `v7` is 7, no variant is the baseline; a variant that is no number is none that we know.
fn variant_number(variant: Option<&str>) -> Option<u32> {
    match variant {
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
