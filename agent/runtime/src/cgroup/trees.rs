//! Which cgroup trees a host has mounted, and where in them our groups lie.

use std::path::{Path, PathBuf};

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// One mounted tree.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) mount: PathBuf,
    /// Where our folder `coord` lies, from the mount on.
    pub(super) base: PathBuf,
}

impl Tree {
    /// The folder that all agents of this machine share.
    pub(super) fn shared(&self) -> PathBuf {
        self.mount.join(&self.base).join("coord")
    }

    /// The folder of the agent with this key.
    pub(super) fn ours(&self, key: &str) -> PathBuf {
        self.shared().join(key)
    }
}

/// `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) struct Mounts {
    pub(super) mountinfo: String,
    pub(super) own: String,
}

impl Mounts {
    pub(super) fn unified(&self) -> Option<Tree> {
        let own = self.own.lines().find_map(|line| line.strip_prefix("0::"))?;
        self.tree(own, |kind, _| kind == "cgroup2")
    }

    pub(super) fn v1(&self, controller: &str) -> Option<Tree> {
        let listed = |list: &str| list.split(',').any(|name| name == controller);
        let own = self.own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            fields.next().filter(|list| listed(list))?;
            fields.next()
        })?;
        self.tree(own, |kind, options| kind == "cgroup" && listed(options))
    }

    /// The mount that `wanted` picks by type and options, and the agent's own group in it.
    fn tree(&self, own: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Tree> {
        // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [FIELDS] - TYPE SOURCE SUPEROPTIONS
        self.mountinfo.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
            let mut left = left.split(' ').skip(3);
            let (root, mount) = (left.next()?, PathBuf::from(left.next()?));
            if !wanted(kind, options) || !mount.starts_with(MOUNT) {
                return None;
            }
            let own = Path::new(own).strip_prefix(root).unwrap_or(Path::new("")).to_owned();
            // Somebody else's view of the tree: stay at its top.
            let base = if mount.join(&own).is_dir() { own } else { PathBuf::new() };
            Some(Tree { mount, base })
        })
    }
}
