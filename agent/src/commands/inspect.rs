//! `coord-agent inspect`: everything about one instance.

use super::{CommandError, Outcome, without_agent};
use crate::output::Output;
use coord_agent::clock;
use coord_agent::config::Config;
use coord_agent::containers::{self, InstanceDetails};
use coord_agent::control::{Client, encode_name};
use coord_shared::wire::ErrorBody;

pub(super) async fn run(instance: &str, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    let path = format!("/v1/instances/{}", encode_name(instance));
    let details = match Client::new(&config.run_dir).get::<InstanceDetails>(&path).await {
        Err(error) if error.code == "unreachable" => {
            without_agent(output);
            on_disk(instance, config)?
        }
        answer => answer?,
    };
    output.json(&details)?;
    Ok(Outcome::Done)
}

fn on_disk(instance: &str, config: &Config) -> Result<InstanceDetails, ErrorBody> {
    let reports = containers::reports(config, clock::now().wall)?;
    Ok(containers::details(instance, &reports, (&config.state_dir, &config.run_dir), Vec::new())?)
}
