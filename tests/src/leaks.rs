//! What is left behind: everything of one host that costs the machine something, as a list of names, to be compared before and after.
//!
//! Looked up in the kernel's own books and never asked of the agent. Only what belongs to the host at hand is listed (below its
//! folder, in its cgroups, in its network), because others work on the same machine. Deliberately absent: an opinion on what may stay;
//! whoever compares says so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::cgroup::Group;
use crate::process::Place;

/// One thing that is there, such as `mount /a/b` or `cgroup memory/c`.
pub type Traces = BTreeSet<String>;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// Everything that the agent writes is below it.
    pub folder: &'a Path,
    pub group: &'a Group,
    /// Its network, if that is its own: links, addresses, rules and routes are listed.
    pub network: Option<Place>,
    /// Folders below `folder` whose files are listed.
    pub listed: &'a [&'a str],
}

impl Scope<'_> {
    /// All traces now.
    pub fn traces(&self) -> Traces {
        let pids = self.group.pids();
        let mut traces = self.mounts(&pids);
        traces.extend(self.cgroups());
        traces.extend(processes(&pids));
        traces.extend(namespaces(&pids));
        traces.extend(self.files());
        traces.extend(self.network_traces());
        traces
    }

    /// In this process's table of mounts, in that of the host's cell, and in those of its processes.
    fn mounts(&self, pids: &[Pid]) -> Traces {
        let tables = pids.iter().map(|pid| format!("/proc/{pid}/mountinfo")).chain(["/proc/self/mountinfo".to_owned()]);
        let mut seen = BTreeSet::new();
        let mut mounts = Traces::new();
        for table in tables {
            let namespace = table.replace("mountinfo", "ns/mnt");
            let fresh = fs::metadata(&namespace).is_ok_and(|found| seen.insert(found.ino()));
            let text = if fresh { fs::read_to_string(&table).unwrap_or_default() } else { String::new() };
            let points =
                text.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(self.folder));
            mounts.extend(points.map(|point| format!("mount {point}")));
        }
        mounts
    }

    fn cgroups(&self) -> Traces {
        let mut waiting: Vec<PathBuf> = self.group.dirs().to_vec();
        let mut found = Traces::new();
        while let Some(dir) = waiting.pop() {
            let below = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
            for path in below {
                found.insert(format!("cgroup {}", path.display()));
                waiting.push(path);
            }
        }
        found
    }

    fn files(&self) -> Traces {
        let dirs = self.listed.iter().map(|name| self.folder.join(name));
        let entries = dirs.flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        entries.map(|entry| format!("file {}", entry.path().display())).collect()
    }

    fn network_traces(&self) -> Traces {
        let Some(place) = &self.network else { return Traces::new() };
        let commands: [(&str, &[&str]); 5] = [
            ("link", &["ip", "-o", "-br", "link"]),
            ("address", &["ip", "-o", "-br", "addr"]),
            ("route", &["ip", "route", "show", "table", "all"]),
            ("rule", &["nft", "-s", "list", "ruleset"]),
            ("neighbour", &["ip", "neigh", "show", "nud", "permanent"]),
        ];
        let mut traces = Traces::new();
        for (what, command) in commands {
            let said = place.run(command).map(|output| output.stdout).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).into_owned();
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            // The kernel's own link-local routes come a moment after an interface is up, and go with it: the interface is what counts.
            let counts = |line: &String| !(line.is_empty() || what == "route" && line.contains("fe80:"));
            traces.extend(said.lines().map(words).filter(counts).map(|line| format!("{what} {line}")));
        }
        traces
    }
}

/// Zombies by their parent, others by their program; numbers would differ each time.
fn processes(pids: &[Pid]) -> Traces {
    let describe = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let state = rest.chars().next()?;
        let name = head.split_once('(')?.1;
        Some(if state == 'Z' { format!("zombie {name} {pid}") } else { format!("process {name} {pid}") })
    };
    pids.iter().filter_map(describe).collect()
}

/// All that the processes are in.
fn namespaces(pids: &[Pid]) -> Traces {
    let kinds = ["mnt", "net", "pid", "ipc", "uts", "user", "cgroup"];
    let links = pids.iter().flat_map(|pid| kinds.map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}"))));
    links.flatten().map(|link| format!("namespace {}", link.display())).collect()
}

/// What is there now and was not before.
pub fn leaked(before: &Traces, after: &Traces) -> Vec<String> {
    after.difference(before).cloned().collect()
}
