//! Instances and the containers that embody them.
//!
//! An instance (`web.0`) is a place that should be filled; a container (`web.0-r3-2`) is what fills it for a while: the second
//! start, in revision 3. A container's name is never used twice on a host.

use super::{NameError, Revision, WorkloadName};
use std::fmt;

/// One instance of a workload on its host, written `web.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    /// The workload it belongs to.
    pub workload: WorkloadName,
    /// Its number among the workload's instances, from 0.
    pub index: u32,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.workload, self.index)
    }
}

impl std::str::FromStr for InstanceId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = || NameError::new("instance", text, "is not WORKLOAD.NUMBER, for example web.0");
        let (workload, index) = text.rsplit_once('.').ok_or_else(fail)?;
        Ok(Self { workload: workload.parse()?, index: parse_number(index).ok_or_else(fail)? })
    }
}

/// One container: an instance, the revision it runs, and the how-manieth start of that instance in that revision this is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId {
    /// The instance that it fills.
    pub instance: InstanceId,
    /// The revision that it runs.
    pub revision: Revision,
    /// Counts the starts of this instance in this revision on this host, from 1.
    pub start: u32,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-r{}-{}", self.instance, self.revision, self.start)
    }
}

impl std::str::FromStr for ContainerId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let fail = || NameError::new("container", text, "is not INSTANCE-rREVISION-START, for example web.0-r3-1");
        let (rest, start) = text.rsplit_once('-').ok_or_else(fail)?;
        let (instance, revision) = rest.rsplit_once("-r").ok_or_else(fail)?;
        Ok(Self {
            instance: instance.parse()?,
            revision: Revision(parse_number(revision).ok_or_else(fail)?),
            start: parse_number(start).ok_or_else(fail)?,
        })
    }
}

/// Digits only, no sign and no leading zero: one container has one spelling.
fn parse_number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let canonical = text == "0" || (text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

/// Both identifiers travel as their text.
macro_rules! text_conversions {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}
text_conversions!(InstanceId, ContainerId);
