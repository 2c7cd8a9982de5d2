//! `[images]` of `agent.toml`: how much of the disk and of the network images may take.

use coord_image::{FormatChoice, Limits, Options, Policy};
use coord_shared::quantity::{ByteSize, Span};
use serde::Deserialize;
use std::time::Duration;

/// Slower than this, an image of usual size (100 MB) would take hours, and registries end such downloads.
const BANDWIDTH_MIN_BYTES_PER_S: u64 = 16 * 1024;
/// A layer smaller than this holds nothing.
const LAYER_SIZE_MIN_BYTES: u64 = 1 << 20;

/// What holds for the images of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesConfig {
    /// How full the disk may become before images that nothing uses go, in percent.
    pub high_water_percent: u8,
    /// How full it may still be when enough of them are gone, in percent; less than the high water mark.
    pub low_water_percent: u8,
    /// How long an image that nothing uses is kept while there is room.
    pub keep: Duration,
    /// What no pull takes of the disk's room.
    pub reserve_bytes: u64,
    /// What all pulls together may take of the network; no limit where absent.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// How layers are kept.
    pub format: FormatChoice,
    /// What one layer may have.
    pub limits: Limits,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        let Policy { high_water_percent, low_water_percent, keep, room_bytes: _ } = Policy::default();
        let Options { limits, format, bandwidth_bytes_per_s, reserve_bytes, .. } = Options::default();
        Self { high_water_percent, low_water_percent, keep, reserve_bytes, bandwidth_bytes_per_s, format, limits }
    }
}

impl ImagesConfig {
    /// What the store is opened with.
    pub fn options(&self) -> Options {
        Options {
            limits: self.limits,
            format: self.format,
            bandwidth_bytes_per_s: self.bandwidth_bytes_per_s,
            reserve_bytes: self.reserve_bytes,
            ..Options::default()
        }
    }

    /// What goes, and when.
    pub fn policy(&self) -> Policy {
        Policy {
            high_water_percent: self.high_water_percent,
            low_water_percent: self.low_water_percent,
            keep: self.keep,
            room_bytes: 0,
        }
    }
}

/// As people write it.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawFormat {
    Auto,
    Directories,
    Loop,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawImages {
    high_water: Option<String>,
    low_water: Option<String>,
    keep: Option<Span>,
    reserve: Option<ByteSize>,
    bandwidth: Option<ByteSize>,
    format: Option<RawFormat>,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    max_size: Option<ByteSize>,
    max_entries: Option<u64>,
    max_ratio: Option<u64>,
}

impl RawImages {
    /// The checked values, with the defaults for what is not said. The error names the key and the cure.
    pub(super) fn check(self) -> Result<ImagesConfig, String> {
        let default = ImagesConfig::default();
        let percent = |name: &str, text: Option<String>, default: u8| {
            text.map_or(Ok(default), |text| parse_percent(&text).map_err(|problem| format!("images.{name} {problem}")))
        };
        let high_water_percent = percent("high_water", self.high_water, default.high_water_percent)?;
        // Who only lowers the high mark means both.
        let low_by_default = default.low_water_percent.min(high_water_percent.saturating_sub(10).max(1));
        let low_water_percent = percent("low_water", self.low_water, low_by_default)?;
        if low_water_percent >= high_water_percent {
            return Err(format!(
                "images.low_water = \"{low_water_percent}%\" must be less than images.high_water = \"{high_water_percent}%\": \
                 removing begins above the high mark and goes on down to the low one"
            ));
        }
        let bandwidth_bytes_per_s = self.bandwidth.map(|size| size.0);
        if bandwidth_bytes_per_s.is_some_and(|limit| limit < BANDWIDTH_MIN_BYTES_PER_S) {
            return Err(format!(
                "images.bandwidth is less than {} a second, and no pull would end; raise it, or leave it out for no limit",
                ByteSize(BANDWIDTH_MIN_BYTES_PER_S)
            ));
        }
        Ok(ImagesConfig {
            high_water_percent,
            low_water_percent,
            keep: self.keep.map_or(default.keep, |span| span.0),
            reserve_bytes: self.reserve.map_or(default.reserve_bytes, |size| size.0),
            bandwidth_bytes_per_s,
            format: match self.format {
                Some(RawFormat::Auto) | None => FormatChoice::Auto,
                Some(RawFormat::Directories) => FormatChoice::Directories,
                Some(RawFormat::Loop) => FormatChoice::Loop,
            },
            limits: self.limits.check()?,
        })
    }
}

impl RawLimits {
    fn check(self) -> Result<Limits, String> {
        let default = Limits::default();
        let limits = Limits {
            layer_max_bytes: self.max_size.map_or(default.layer_max_bytes, |size| size.0),
            layer_max_entries: self.max_entries.unwrap_or(default.layer_max_entries),
            ratio_max: self.max_ratio.unwrap_or(default.ratio_max),
            ..default
        };
        if limits.layer_max_bytes < LAYER_SIZE_MIN_BYTES {
            return Err(format!("images.limits.max_size is less than {}; no image would fit", ByteSize(LAYER_SIZE_MIN_BYTES)));
        }
        if limits.layer_max_entries == 0 {
            return Err("images.limits.max_entries is 0; no image would fit".to_owned());
        }
        // What gzip makes of ordinary text.
        if limits.ratio_max < 10 {
            return Err("images.limits.max_ratio is less than 10, which ordinary images reach; the default is 250".to_owned());
        }
        Ok(limits)
    }
}

/// `85%`, from 1 to 100.
fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.trim_end().parse().ok());
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("= {text:?} is not a share of the disk; write for example \"85%\""))
}
