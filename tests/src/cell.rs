//! A network and a table of mounts of their own, for programs that change both: engines, and agents that connect containers.
//!
//! Nothing that runs in a cell touches the machine's interfaces, routes or packet filters, and what it mounts is gone when its
//! last process is. A cable leads out of it on request, for load from outside of the "host". Deliberately absent: namespaces of processes
//! and names; see [`crate::hosts`] for whole hosts.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cgroup::Group;
use crate::process::{Pid, Place, Process, describe};
use crate::wait;

/// A shell that mounts one thing.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// The cell's end of its cable, and the end outside.
pub const INSIDE: &str = "10.214.0.1";
pub const OUTSIDE: &str = "10.214.0.2";

/// A cell. Dropping it ends everything inside.
pub struct Cell {
    // In the order of their end.
    holder: Process,
    outside: Option<Process>,
    group: Group,
    dir: TempDir,
}

/// How `/sys/fs/cgroup` looks in a cell on a host of both cgroup versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// As outside.
    AsTheyAre,
    /// Without the second version's tree, which crun of that age refuses beside the first's.
    FirstVersionAlone,
}

impl Cell {
    pub fn start(cgroups: Cgroups) -> Result<Cell> {
        static CELLS: AtomicUsize = AtomicUsize::new(0);
        crate::need_root();
        let name = format!("coord-cell-{}-{}-", std::process::id(), CELLS.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix(&name).tempdir()?;
        let group = Group::create()?;
        let hide = match cgroups {
            Cgroups::FirstVersionAlone if PathBuf::from("/sys/fs/cgroup/unified").is_dir() => "umount /sys/fs/cgroup/unified\n",
            Cgroups::FirstVersionAlone | Cgroups::AsTheyAre => "",
        };
        // A /run of its own: engines keep books there that the machine's own must not meet.
        let script = format!(
            "ip link set lo up\nmount -t tmpfs -o mode=755 tmpfs /run\nmkdir /run/lock\n\
             if [ -d /var/lib/cni ]; then mount -t tmpfs tmpfs /var/lib/cni; fi\n{hide}: >{}\nexec sleep infinity",
            dir.path().join("ready").display()
        );
        let holder = hold(&["unshare", "--net", "--mount", "--propagation", "private"], &script, &group, &dir, "ready")?;
        Ok(Cell { holder, outside: None, group, dir })
    }

    /// Where to run something in it.
    pub fn place(&self) -> Place {
        enter(&self.holder, &self.group)
    }

    /// A file or folder that is gone with the cell.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every process in it, the one that holds it open included.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The process that holds it open.
    pub fn holder(&self) -> Pid {
        self.holder.pid()
    }

    /// Plugs a cable in whose other end is in a network of its own, and gives a place there: [`OUTSIDE`] reaches the cell at [`INSIDE`].
    pub fn plug_in(&mut self) -> Result<Place> {
        if self.outside.is_none() {
            let ready = self.dir.path().join("outside");
            let script = format!("ip link set lo up\n: >{}\nexec sleep infinity", ready.display());
            let outside = hold(&["unshare", "--net"], &script, &self.group, &self.dir, "outside")?;
            let peer = outside.pid().to_string();
            self.ok(&["ip", "link", "add", "cable0", "type", "veth", "peer", "name", "eth0", "netns", &peer])?;
            self.ok(&["ip", "addr", "add", &format!("{INSIDE}/24"), "dev", "cable0"])?;
            self.ok(&["ip", "link", "set", "cable0", "up"])?;
            self.ok(&["ip", "route", "add", "default", "via", OUTSIDE])?;
            let there = enter(&outside, &self.group);
            ok(&there, &["ip", "addr", "add", &format!("{OUTSIDE}/24"), "dev", "eth0"])?;
            ok(&there, &["ip", "link", "set", "eth0", "up"])?;
            self.outside = Some(outside);
        }
        let outside = self.outside.as_ref().context("the cable's other end")?;
        Ok(enter(outside, &self.group))
    }

    /// Runs a command in it; its standard output.
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub fn ok(&self, argv: &[&str]) -> Result<String> {
        ok(&self.place(), argv)
    }
}

/// As [`Cell::ok`], in any place.
pub fn ok(place: &Place, argv: &[&str]) -> Result<String> {
    let output = place.run(argv)?;
    if !output.status.success() {
        bail!("{}: {}", argv.join(" "), describe(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn hold(unshare: &[&str], script: &str, group: &Group, dir: &TempDir, file: &str) -> Result<Process> {
    let place =
        Place { cgroups: group.dirs().to_vec(), enter: unshare.iter().map(|word| (*word).to_owned()).collect(), forks: false };
    let holder = Process::start("cell", &["sh", "-euc", script], &place, &dir.path().join(format!("{file}.log")))?;
    let ready = dir.path().join(file);
    wait::wait_until(READY_LIMIT, "the cell is ready", || ready.exists()).with_context(|| holder.log())?;
    Ok(holder)
}

fn enter(holder: &Process, group: &Group) -> Place {
    let target = holder.pid().to_string();
    let words = ["nsenter", "--target", &target, "--net", "--mount", "--"];
    Place { cgroups: group.dirs().to_vec(), enter: words.map(str::to_owned).to_vec(), forks: false }
}

/// The namespaces of this process, as `coord-probe` wants to be told of its host's.
pub fn host_namespaces() -> String {
    let kinds = ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"];
    let inode = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        let text = link.to_string_lossy().into_owned();
        text.split(['[', ']']).nth(1).map(|inode| format!("{kind}={inode}"))
    };
    kinds.into_iter().filter_map(inode).collect::<Vec<_>>().join(",")
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", program]).status().is_ok_and(|status| status.success())
}
