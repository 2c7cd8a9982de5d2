//! `coordctl delete`: deletes documents; the hosts then stop and remove their containers.

use super::changes;
use super::status::{Goal, wait};
use crate::cli::{DeleteArgs, Format};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

pub(super) async fn run(args: &DeleteArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let mut views = Vec::with_capacity(args.names.len());
    for name in &args.names {
        let view = output.waiting(&format!("deleting {name}"), client.delete(name, args.take_over)).await?;
        if args.format.format == Format::Table {
            let hosts = changes::hosts(&view, false);
            let hosts = if hosts.is_empty() { hosts } else { format!("; {hosts}") };
            output.data(&format!("{}: deleted{hosts}\n", output.palette.paint(Tone::Strong, name.as_str())))?;
        }
        views.push(view);
    }
    if args.format.format == Format::Json {
        output.json(&views)?;
    }
    if args.wait.wait {
        wait(client, output, &Goal::Gone(args.names.clone()), args.wait.timeout.0).await?;
    }
    Ok(Exit::Done)
}
