//! Hosts on one machine: each with network, mounts, processes, name and cgroup view of its own, on one switch.
//!
//! ```text
//!   switch (network namespace; bridge br0, 10.213.0.1/16: coordinator, registry and coordctl run here)
//!     ├── h0: 10.213.1.1   net + mount + pid + uts + ipc + cgroup namespaces; pid 1 is tini
//!     └── h1: 10.213.1.2   ...
//! ```
//! No cable leaves the lab: nothing here touches the machine's own network, and several labs use the same addresses.
//! A host can lose its cable and its power. The namespaces are made by `ip`, `unshare` and `nsenter`, as an operator
//! would make them by hand. Deliberately absent: user namespaces (agents run as root on real hosts, too).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::cgroup::Group;
use crate::process::{Place, Process, describe};
use crate::wait;

/// Making namespaces and mounts takes tens of milliseconds.
const BOOT_LIMIT: Duration = Duration::from_secs(20);
/// Addresses end at .254.
const HOSTS_MAX: usize = 254;
/// Network namespaces of the tests are called `ct-PID-LAB-...`.
const PREFIX: &str = "ct-";

/// The switch's address, as seen by every host.
pub const SWITCH_ADDRESS: &str = "10.213.0.1";

static LABS: AtomicUsize = AtomicUsize::new(0);

/// A switch and its hosts. Dropping it ends everything inside and removes it.
pub struct NetLab {
    // The hosts go first: their processes hold what is removed after them.
    hosts: Vec<Host>,
    switch: Namespace,
    dir: TempDir,
}

/// One host.
pub struct Host {
    name: String,
    address: String,
    dir: PathBuf,
    /// Its pid 1, while it has power.
    init: Option<Process>,
    group: Group,
    namespace: Namespace,
}

/// A network namespace under a name, removed when dropped.
struct Namespace(String);

impl NetLab {
    /// A switch with `count` hosts, all booted.
    pub fn start(count: usize) -> Result<NetLab> {
        if count > HOSTS_MAX {
            bail!("a lab has at most {HOSTS_MAX} hosts, not {count}");
        }
        sweep()?;
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{lab}", std::process::id());
        let dir = tempfile::Builder::new().prefix("coord-lab-").tempdir()?;
        let switch = Namespace::create(&format!("{prefix}-sw"))?;
        switch.ip(&["link", "set", "lo", "up"])?;
        switch.ip(&["link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
        switch.ip(&["addr", "add", &format!("{SWITCH_ADDRESS}/16"), "dev", "br0"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        let mut lab = NetLab { hosts: Vec::new(), switch, dir };
        for number in 0..count {
            let host = Host::plug_in(&prefix, number, &lab.switch, lab.dir.path())?;
            lab.hosts.push(host);
        }
        for host in &mut lab.hosts {
            host.boot()?;
        }
        Ok(lab)
    }

    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    pub fn host_mut(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number]
    }

    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Where the coordinator and the registry run: a shared network, everything else as the test's own.
    pub fn switch(&self) -> Place {
        self.switch.place()
    }

    /// Pulls the host's cable, or plugs it in again.
    pub fn cable(&self, number: usize, plugged: bool) -> Result<()> {
        let port = format!("v{number}");
        self.switch.ip(&["link", "set", &port, if plugged { "up" } else { "down" }])
    }
}

impl Host {
    fn plug_in(prefix: &str, number: usize, switch: &Namespace, dir: &Path) -> Result<Host> {
        let namespace = Namespace::create(&format!("{prefix}-h{number}"))?;
        let port = format!("v{number}");
        let peer = ["peer", "name", "eth0", "netns", &namespace.0];
        switch.ip(&[&["link", "add", &port, "type", "veth"], peer.as_slice()].concat())?;
        switch.ip(&["link", "set", &port, "master", "br0", "up"])?;
        let address = format!("10.213.1.{}", number + 1);
        namespace.ip(&["addr", "add", &format!("{address}/16"), "dev", "eth0"])?;
        namespace.ip(&["link", "set", "eth0", "up"])?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        let name = format!("h{number}");
        let dir = dir.join(&name);
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Host { name, address, dir, init: None, group: Group::create()?, namespace })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its disk: survives a power cut. At the same path inside and outside.
    pub fn disk(&self) -> &Path {
        &self.dir
    }

    /// Every process on it, as this side of the namespaces numbers them.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Where to run something on this host.
    ///
    /// # Errors
    /// When it has no power.
    pub fn place(&self) -> Result<Place> {
        let init = self.init.as_ref().with_context(|| format!("{} has no power", self.name))?;
        let target = init.pid().to_string();
        let enter = ["nsenter", "--target", &target, "-m", "-u", "-i", "-n", "-p", "-C", "--"];
        Ok(Place { cgroups: self.group.dirs().to_vec(), enter: enter.map(str::to_owned).to_vec(), forks: true })
    }

    /// Power on.
    pub fn boot(&mut self) -> Result<()> {
        let ready = self.dir.join("booted");
        let _ = fs::remove_file(&ready);
        let netns = format!("--net=/run/netns/{}", self.namespace.0);
        let unshare = ["unshare", "--fork", "--pid", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup"];
        let enter = [["nsenter", &netns, "--"].as_slice(), unshare.as_slice()].concat();
        let place =
            Place { cgroups: self.group.dirs().to_vec(), enter: enter.into_iter().map(str::to_owned).collect(), forks: true };
        let argv = ["sh", "-euc", BOOT, "boot", &self.name, &ready.to_string_lossy()];
        let init = Process::start(&self.name, &argv, &place, &self.dir.join("boot.log"))?;
        wait::wait_until(BOOT_LIMIT, &format!("{} boots", self.name), || ready.exists()).with_context(|| init.log())?;
        self.init = Some(init);
        Ok(())
    }

    /// The power cord: every process on it ends in the same instant, nothing is told.
    pub fn power_off(&mut self) -> Result<()> {
        self.group.kill()?;
        self.init = None;
        Ok(())
    }
}

/// Runs as pid 1 of a host in its new namespaces: what a real one finds mounted. `$1` its name, `$2` the file that says "ready".
///
/// Cgroups are mounted anew, so that the host sees its own group as the root of each hierarchy.
const BOOT: &str = r#"
hostname "$1"
mount --make-rprivate /
hierarchies=$(ls /sys/fs/cgroup); v2=no; [ -e /sys/fs/cgroup/cgroup.controllers ] && v2=yes
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
if [ $v2 = yes ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  for h in $hierarchies; do
    mkdir "/sys/fs/cgroup/$h"
    case $h in
      unified) mount -t cgroup2 cgroup2 "/sys/fs/cgroup/$h" ;;
      systemd) mount -t cgroup -o none,name=systemd cgroup "/sys/fs/cgroup/$h" ;;
      *) mount -t cgroup -o "$h" cgroup "/sys/fs/cgroup/$h" ;;
    esac
  done
fi
: >"$2"
exec tini -s -- sleep infinity
"#;

impl Namespace {
    fn create(name: &str) -> Result<Namespace> {
        run("ip", &["netns", "add", name])?;
        Ok(Namespace(name.to_owned()))
    }

    /// Only the network: `ip netns exec` would also mount another /sys, and hide the cgroups.
    fn place(&self) -> Place {
        let net = format!("--net=/run/netns/{}", self.0);
        let enter = ["nsenter", &net, "--"].map(str::to_owned).to_vec();
        Place { cgroups: Vec::new(), enter, forks: false }
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        run("ip", &[&["-n", &self.0], args].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run("ip", &["netns", "del", &self.0]) {
            crate::say(&format!("{error:#}"));
        }
    }
}

/// Removes what killed tests have left behind: their groups and network namespaces.
fn sweep() -> Result<()> {
    crate::cgroup::sweep()?;
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            drop(Namespace(name));
        }
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("run {program} (is it installed?)"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", args.join(" "), describe(&output));
    }
    Ok(())
}
