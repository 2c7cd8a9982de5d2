//! The document: one TOML file, the desired state of one workload.
//!
//! The way of a text: TOML with places (`syntax`) -> values as their keys want them (`raw`) -> every mistake collected (`lower`) ->
//! a [`Document`] that cannot be invalid. Whoever writes the file sees all mistakes at once, each with its place and cure; whoever
//! holds a `Document` checks nothing again. Which keys there are stands in `keys`, and nowhere else.

pub(crate) mod diagnostic;
mod diff;
mod file_name;
pub(crate) mod keys;
mod loosened;
pub(crate) mod lower;
mod model;
mod parts;
pub(crate) mod raw;
pub(crate) mod reference;
mod render;
mod syntax;
#[cfg(test)]
pub(crate) mod tests;
mod words;
mod written;

pub use diagnostic::{Diagnostic, Diagnostics, MISTAKES_MAX, Rule};
pub use diff::diff;
pub use file_name::workload_name;
pub use loosened::DEFAULT_CAPABILITIES;
pub use lower::mount_target;
pub use model::{
    Container, Document, Nested, NestedNetwork, Network, Parallelism, PidsLimit, Resources, RestartPolicy, Rollout, RolloutOrder,
};
pub use parts::{
    CpuSet, Device, Dns, Healthcheck, Hook, HostAddress, LogDriver, Logging, Mount, MountSource, Port, PortMapping, Probe,
    Propagation, Protocol, RestartSettings, RuntimeName, Security, Ulimit,
};
pub use reference::reference;

use keys::Format;
use raw::Mistakes;
use toml::de::DeTable;

/// Longest document, in bytes: a thousand times what a careful one needs, and small enough to keep whole in every host state.
pub const DOCUMENT_MAX_BYTES: usize = 64 * 1024;

/// Processes and threads of a container whose document sets no limit: podman's default, which no service comes near and no fork bomb
/// gets past.
pub const PIDS_DEFAULT: u32 = 2048;

/// Reads and checks a document's text.
///
/// The errors are all mistakes of the text, at most [`MISTAKES_MAX`]; behind an unclosed quote or bracket nothing can be told, so
/// what follows one waits for the next run. Bounded in time and memory whatever the text is: [`DOCUMENT_MAX_BYTES`] are looked at.
pub fn parse(text: &str) -> Result<Document, Diagnostics> {
    parse_as(&keys::DOCUMENT, text, lower::lower)
}

/// Reads and checks a text of `format`; `lower` makes of its values what they mean, and answers None only after it has reported why.
pub(crate) fn parse_as<T>(
    format: &Format,
    text: &str,
    lower: impl FnOnce(&DeTable<'_>, &mut Mistakes) -> Option<T>,
) -> Result<T, Diagnostics> {
    if text.len() > DOCUMENT_MAX_BYTES {
        let message = format!("the {} has {} bytes, {DOCUMENT_MAX_BYTES} are allowed", format.noun, text.len());
        let too_large = Diagnostic::new(Rule::TooLarge, 0..0, message);
        return Err(Diagnostics::one(too_large.hint(format.too_large)));
    }
    let syntax = syntax::read(text);
    let mut mistakes = Mistakes::new();
    let lowered = lower(syntax.table.get_ref(), &mut mistakes);
    mistakes.retain(|found| syntax.trusts(found));
    mistakes.extend(syntax.mistakes);
    match (Diagnostics::new(mistakes), lowered) {
        (Some(diagnostics), _) => Err(diagnostics),
        (None, Some(lowered)) => Ok(lowered),
        (None, None) => {
            unreachable!("a text that means nothing has a mistake: one of its values, or the one of its syntax that hides it")
        }
    }
}
