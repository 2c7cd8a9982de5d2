//! A recipe that cannot be invalid.

use crate::document::{Healthcheck, Port};
use crate::names::ImageReference;
use crate::quantity::Signal;
use serde::Serialize;
use std::collections::BTreeMap;

/// How an archive becomes an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// The image that it stands on, whose layers are taken by reference; from nothing (`scratch`) where absent.
    pub base: Option<ImageReference>,
    /// Where in the image the archive's files land; an absolute path, `/app` where the recipe says nothing.
    pub target: String,
    /// Whose the files are; 0:0 where the recipe says nothing. Owners in the archive are not looked at.
    pub owner: Owner,
    /// Modes by pattern, the last that matches wins; the archive's own mode (its lower nine bits) where none does.
    pub modes: Vec<ModeRule>,
    /// As in a document; the base's where absent. Setting one forgets the base's `command`, as Docker does.
    pub entrypoint: Option<Vec<String>>,
    /// As in a document; the base's where absent.
    pub command: Option<Vec<String>>,
    /// Added to the base's, or instead of a variable there.
    pub environment: BTreeMap<String, String>,
    /// The base's where absent.
    pub working_dir: Option<String>,
    /// `USER` or `USER:GROUP`; the base's where absent.
    pub user: Option<String>,
    /// Ports that it is known to listen on, added to the base's.
    pub expose: Vec<Port>,
    /// Places for volumes, added to the base's.
    pub volumes: Vec<String>,
    /// Added to the base's.
    pub labels: BTreeMap<String, String>,
    /// The base's where absent.
    pub stop_signal: Option<Signal>,
    /// The base's where absent.
    pub healthcheck: Option<Healthcheck>,
    /// `OS/ARCHITECTURE[/VARIANT]`; the coordinator's own where absent. Chooses among a base's platforms.
    pub platform: Option<String>,
}

/// A numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// The mode of the files that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeRule {
    /// Over paths in the archive; `*` and `?` within a component, `**` over several.
    pub pattern: String,
    /// The permission bits, at most 0o7777.
    pub mode: u32,
}
