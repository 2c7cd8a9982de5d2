//! `[network]` of `agent.toml`: how this host's containers are connected.

use coord_network::{NetworkError, Settings};
use serde::Deserialize;
use std::str::FromStr;

/// What switches IPv6 off.
const NONE: &str = "none";

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    bridge: Option<String>,
    pool: Option<String>,
    pool6: Option<String>,
    mtu: Option<u32>,
}

impl RawNetwork {
    /// The checked values, with the defaults for what is not said. The error names the key and the cure.
    pub(super) fn check(self) -> Result<Settings, String> {
        let default = Settings::default();
        let settings = Settings {
            bridge: self.bridge.unwrap_or(default.bridge),
            pool: self.pool.map_or(Ok(default.pool), |text| network("pool", &text, "10.207.0.0/16"))?,
            pool6: match self.pool6.as_deref() {
                None => default.pool6,
                Some(NONE) => None,
                Some(text) => Some(network("pool6", text, "fd63:6f6f:7264::/64")?),
            },
            mtu: self.mtu,
        };
        settings.check().map_err(|error: NetworkError| error.to_string())?;
        Ok(settings)
    }
}

/// `ADDRESS/LENGTH`.
fn network<T: FromStr>(key: &str, text: &str, example: &str) -> Result<(T, u8), String> {
    let parsed = text.split_once('/').and_then(|(address, length)| Some((address.parse().ok()?, length.parse().ok()?)));
    parsed.ok_or_else(|| format!("network.{key} = {text:?} is not a network; write for example \"{example}\""))
}
