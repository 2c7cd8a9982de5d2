//! What all sources of a host share: whom the programs run as, their configuration, and what they may cost.

use crate::error::{SourceError, folder};
use rustix::process::{Gid, Uid};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whom the programs run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Its number; not 0.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl User {
    /// `nobody`, who owns nothing.
    pub const NOBODY: Self = Self { uid: 65_534, gid: 65_534 };

    /// Whom the programs should run as, where nobody says otherwise: `nobody` if this process is root, else as itself.
    pub fn unprivileged() -> Option<Self> {
        rustix::process::geteuid().is_root().then_some(Self::NOBODY)
    }

    pub(crate) fn raw_uid(self) -> Uid {
        Uid::from_raw(self.uid)
    }

    pub(crate) fn raw_gid(self) -> Gid {
        Gid::from_raw(self.gid)
    }
}

/// What sources may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a look may take.
    pub look: Duration,
    /// How long a fetch may take, everything included.
    pub fetch: Duration,
    /// How many bytes are kept of a repository between runs.
    pub kept_bytes: u64,
    /// How many bytes the files of a commit may have, with their short history.
    pub files_bytes: u64,
    /// How many files and folders these may be.
    pub files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A server that wakes up, over a slow link.
            look: Duration::from_secs(60),
            // The first fetch of a large repository; later ones take seconds.
            fetch: Duration::from_secs(30 * 60),
            // The Linux kernel with its history has 5 GiB; nearly all others have less than one.
            kept_bytes: 8 << 30,
            files_bytes: 8 << 30,
            files: 2_000_000,
        }
    }
}

/// What the programs need on a host.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) home: PathBuf,
    pub(crate) user: Option<User>,
}

/// Git's whole configuration: nothing of the host's or of a person's applies.
///
/// - `credential.helper`: answers for the one address that the credentials are for, out of inherited memory.
/// - `safe.directory`: repositories of other users may be read; they run as a user without rights, and hooks are off.
/// - `fetch.fsck.*`: what careless tools of the last twenty years wrote, and what hurts nobody.
const GIT_CONFIG: &str = r#"[core]
	hooksPath = /dev/null
	fsmonitor = false
	protectHFS = true
	protectNTFS = true
	autocrlf = false
	askPass =
[credential]
	helper =
	helper = "!f() { test \"$1\" = get || return 0; p=; h=; while IFS== read -r k v; do case $k in protocol) p=$v;; host) h=$v;; esac; done; test \"$p://$h\" = \"$COORD_SOURCE_FOR\" && cat \"/proc/self/fd/$COORD_SOURCE_FD\"; return 0; }; f"
[safe]
	directory = *
[transfer]
	fsckObjects = true
[fetch "fsck"]
	badDate = ignore
	badEmail = ignore
	badTimezone = ignore
	missingEmail = ignore
	missingSpaceBeforeDate = ignore
	missingSpaceBeforeEmail = ignore
	zeroPaddedDate = ignore
	zeroPaddedFilemode = ignore
[protocol]
	version = 2
[protocol "ext"]
	allow = never
[http]
	followRedirects = initial
	lowSpeedLimit = 1000
	lowSpeedTime = 60
[gc]
	autoDetach = false
[maintenance]
	auto = false
[advice]
	detachedHead = false
[init]
	defaultBranch = main
[uploadpack]
	allowAnySHA1InWant = true
"#;

impl Tools {
    /// Prepares the folder `home` (made if it is absent), which only this crate writes to: the programs' configuration, and the ssh keys of
    /// servers. `user`: whom the programs run as, [`User::unprivileged`] as a rule; a process that is not root cannot choose.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn prepare(home: &Path, user: Option<User>) -> Result<Self, SourceError> {
        let make = |path: &Path, mode| {
            fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(folder("make", path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(folder("set the rights of", path))
        };
        make(home, 0o755)?;
        make(&home.join("svn"), 0o755)?;
        let ssh = home.join("ssh");
        make(&ssh, 0o700)?;
        if let Some(user) = user {
            chown(&ssh, Some(user.uid), Some(user.gid)).map_err(folder("give away", &ssh))?;
        }
        let (config, new) = (home.join("gitconfig"), home.join("gitconfig.new"));
        fs::write(&new, GIT_CONFIG).map_err(folder("write", &new))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).map_err(folder("set the rights of", &new))?;
        fs::rename(&new, &config).map_err(folder("replace", &config))?;
        Ok(Self { home: home.to_owned(), user })
    }
}
