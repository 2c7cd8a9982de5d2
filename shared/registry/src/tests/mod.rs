//! The client against a registry that misbehaves, and its parsers against texts.

mod answers;
mod login;
mod mirrors;
mod parsers;
mod proxies;
mod real;
mod secrets;

use crate::fake::FakeRegistry;
use crate::{Registry, RegistryConfig, RegistryError, Timeouts};
use coord_shared::names::ImageReference;
use std::time::Duration;

/// Short enough that a test of running out of time is quick, long enough for a loaded machine to answer.
const QUICK: Timeouts =
    Timeouts { connect: Duration::from_secs(5), answer: Duration::from_secs(5), stall: Duration::from_secs(5) };

fn plain(fake: &FakeRegistry) -> RegistryConfig {
    RegistryConfig { prefix: fake.host(), insecure: true, ..RegistryConfig::default() }
}

fn client(fake: &FakeRegistry) -> Registry {
    Registry::with_timeouts(vec![plain(fake)], None, QUICK).unwrap()
}

fn image(fake: &FakeRegistry, rest: &str) -> ImageReference {
    format!("{}/{rest}", fake.host()).parse().unwrap()
}

/// The error and all its causes, on one line, without what differs from run to run.
fn text(fake: &FakeRegistry, error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text.replace(&fake.host(), "HOST")
}
