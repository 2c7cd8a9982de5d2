//! What the tests share: a host that builds, a registry with one image, a coordinator, and a source that is a folder.

use super::super::{Builder, Fetch, Hands, Pending, Repositories};
use super::coordinator::Coordinator;
use crate::config::{BuilderConfig, Config};
use crate::containers::happenings::Happenings;
use crate::event::Event;
use crate::nested::{self, Doors};
use crate::sync::coordinators::Coordinators;
use coord_image::ImageStore;
use coord_registry::fake::{FakeLayer, FakeRegistry};
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::{Commit, Digest};
use coord_shared::pipeline::Source;
use coord_shared::wire::{BuildOrder, BuildPhase, BuildReport, CommitView, FullReport, Head, HeadReport, HostState, SourceWatch};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Nothing in these tests takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// Turns in which what a failed test has left is removed.
const REMOVALS_MAX: u32 = 200;

pub(super) struct Rig {
    pub(super) folder: tempfile::TempDir,
    pub(super) config: Config,
    pub(super) coordinator: Coordinator,
    registry: FakeRegistry,
    builder: Option<Builder>,
    doors: Option<Doors>,
    local: LocalSet,
    orders: Vec<BuildOrder>,
    watches: Vec<SourceWatch>,
}

/// A source whose files lie in a folder; its commit is the number in the file `commit` beside it.
struct Folder(PathBuf);

impl Repositories for Folder {
    fn look<'a>(&'a self, _: &'a Source, _: Option<&'a str>) -> Pending<'a, Result<Head, String>> {
        let text = fs::read_to_string(self.0.with_extension("commit"));
        Box::pin(async move {
            let commit = text.map_err(|_| "the repository is gone; mend it".to_owned())?;
            Ok(Head { commit: commit.trim().parse().expect("a commit"), reference: "main".to_owned() })
        })
    }

    fn fetch<'a>(&'a self, wanted: Fetch<'a>, say: &'a mut dyn FnMut(&str)) -> Pending<'a, Result<CommitView, String>> {
        Box::pin(async move {
            say("copying");
            let status = Command::new("cp").arg("-a").arg(self.0.join(".")).arg(&wanted.into).status().expect("cp");
            assert!(status.success());
            Ok(CommitView {
                commit: wanted.commit.clone(),
                author: "Ada".to_owned(),
                subject: "change".to_owned(),
                at: jiff::Timestamp::from_second(1_700_000_000).expect("a time"),
            })
        })
    }

    fn changed<'a>(&'a self, _: &'a Fetch<'a>, _: &'a Commit) -> Pending<'a, Result<Option<Vec<String>>, String>> {
        Box::pin(async { Ok(Some(vec!["docs/README".to_owned()])) })
    }
}

impl Rig {
    pub(super) async fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        // As the program does before anything else; the second test of a process finds it done.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // On a disk: an overlay does not take every file system as its upper layer.
        let folder = tempfile::tempdir_in("/var/tmp").expect("a temporary folder");
        let coordinator = Coordinator::start().await;
        let registry = FakeRegistry::start().await.expect("a registry");
        let layer = busybox_layer(&folder.path().join("image"));
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        registry.put_image("tools/sh", "1", architecture, &[layer]);
        let source = folder.path().join("source");
        fs::create_dir(&source).expect("a source");
        fs::write(source.join("hello.txt"), "hello\n").expect("a file");
        fs::write(source.with_extension("commit"), "r1").expect("a commit");
        let config = config(folder.path(), &coordinator.url, &registry.host());
        let mut rig = Self {
            folder,
            config,
            coordinator,
            registry,
            builder: None,
            doors: None,
            local: LocalSet::new(),
            orders: Vec::new(),
            watches: Vec::new(),
        };
        rig.start();
        rig
    }

    pub(super) fn builder_config(&mut self) -> &mut BuilderConfig {
        self.config.builder.as_mut().expect("a builder")
    }

    /// Begins anew, as an agent that was killed and started again. Nothing of it lives on but containers and what is on the disk.
    pub(super) fn restart(&mut self) {
        self.pause();
        self.start();
    }

    /// Kills the agent.
    pub(super) fn pause(&mut self) {
        self.builder = None;
        if let Some(doors) = self.doors.take() {
            doors.abandon();
        }
        self.local = LocalSet::new();
    }

    /// The coordinator asks no more, while there is no agent to hear it.
    pub(super) fn forget(&mut self, run: &str) {
        self.orders.retain(|order| order.run.to_string() != run);
    }

    /// As a host that went down and came up again: nothing runs, and what is in memory is gone.
    pub(super) fn power_cut(&mut self) {
        self.pause();
        let deadline = crate::clock::now().mono.after(DEADLINE);
        // A start that is on its way makes a helper yet, which makes files; and whoever was killed is there until the kernel is done.
        loop {
            let alive = [self.pids(), self.helpers()].concat();
            if alive.is_empty() {
                break;
            }
            assert!(crate::clock::now().mono < deadline, "{alive:?} do not end");
            kill(alive);
            std::thread::sleep(PAUSE);
        }
        fs::remove_dir_all(self.folder.path().join("run/builds")).expect("removed");
        let notes = self.folder.path().join("state/builds/runs");
        for run in fs::read_dir(notes).expect("runs").flatten() {
            let path = run.path().join("state.json");
            let mut note: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a note")).expect("JSON");
            note["boot"] = "another".into();
            fs::write(&path, note.to_string()).expect("written");
        }
        self.start();
    }

    /// Waits for a file while there is no agent.
    pub(super) async fn wait_for(&self, path: &Path) {
        let waiting = async {
            while !path.exists() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("the file to come");
    }

    fn start(&mut self) {
        let options = coord_image::Options::default();
        let images = ImageStore::open_with(&self.folder.path().join("state/images"), options).expect("an image store");
        let registry = Registry::new(self.config.registries.clone(), None).expect("a client");
        let (events, mut inbox) = mpsc::channel(16);
        let _entered = self.local.enter();
        let doors = Doors::start(nested::Hands {
            host: self.config.host.clone(),
            state_dir: self.config.state_dir.clone(),
            run_dir: self.config.run_dir.clone(),
            helpers_dir: self.config.helpers_dir.clone(),
            isolation: self.config.isolation.of_containers(),
            images: images.clone(),
            registry: registry.clone(),
            room: None,
            happenings: Happenings::default(),
        });
        self.doors = Some(doors.clone());
        let hands = Hands {
            coordinators: Coordinators::new(&self.config).expect("a client"),
            images,
            registry,
            room: None,
            doors,
            network: Err("no network in tests".to_owned()),
            repositories: Box::new(Folder(self.folder.path().join("source"))),
            events,
        };
        self.local.spawn_local(async move { while let Some(Event::Builds) = inbox.recv().await {} });
        self.builder = Builder::start(&self.config, hands).expect("a builder");
        self.wish();
    }

    pub(super) fn builder(&self) -> &Builder {
        self.builder.as_ref().expect("a builder")
    }

    fn wish(&self) {
        let mut state = HostState::empty("box".parse().expect("a host"));
        (state.builds, state.watches) = (self.orders.clone(), self.watches.clone());
        self.builder().want(&state);
    }

    /// The image's name.
    pub(super) fn image(&self) -> String {
        format!("{}/tools/sh:1", self.registry.host())
    }

    /// A pipeline with these steps, and more of its text.
    pub(super) fn pipeline(&self, steps: &[&str], stage: &str, more: &str) -> String {
        format!(
            "[source]\ngit = \"https://git.lan/shop.git\"\n[build]\nimage = \"{}\"\nsteps = {steps:?}\nnetwork = \"none\"\n{stage}\n\
             [image]\nrepository = \"shop\"\n[package]\ninclude = [\"hello.txt\"]\n{more}",
            self.image()
        )
    }

    pub(super) fn order(&mut self, run: &str, document: String) {
        self.orders.push(BuildOrder {
            run: run.parse().expect("a run"),
            commit: "r1".parse().expect("a commit"),
            since: None,
            cancelled: false,
            document,
        });
        self.wish();
    }

    pub(super) fn change(&mut self, run: &str, change: impl FnOnce(&mut BuildOrder)) {
        let order = self.orders.iter_mut().find(|order| order.run.to_string() == run).expect("an order");
        change(order);
        self.wish();
    }

    pub(super) fn drop_order(&mut self, run: &str) {
        self.orders.retain(|order| order.run.to_string() != run);
        self.wish();
    }

    pub(super) fn watch(&mut self, asked: u64, document: String) {
        self.watches = vec![SourceWatch { pipeline: "shop".parse().expect("a name"), asked, document }];
        self.wish();
    }

    pub(super) fn report(&self, run: &str) -> Option<BuildReport> {
        let mut report = FullReport::default();
        self.builder().tell(&mut report);
        report.builds.into_iter().find(|build| build.run.to_string() == run)
    }

    fn head(&self) -> Option<HeadReport> {
        let mut report = FullReport::default();
        self.builder().tell(&mut report);
        report.heads.into_iter().next()
    }

    /// Lets the builder work until something holds.
    pub(super) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let found = self.local.run_until(tokio::time::timeout(DEADLINE, waiting)).await;
        let builds = || {
            let mut report = FullReport::default();
            self.builder().tell(&mut report);
            format!("{:#?}\n{:#?}", report.builds, self.coordinator.log())
        };
        found.unwrap_or_else(|_| panic!("{what} has not come: {}", builds()))
    }

    /// Runs something beside the builder.
    pub(super) async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        self.local.run_until(work).await
    }

    pub(super) async fn until_over(&self, run: &str) -> BuildReport {
        self.until("the end of a run", |rig| rig.report(run).filter(|report| report.phase.is_over())).await
    }

    pub(super) async fn until_head(&self, good: impl Fn(&HeadReport) -> bool) -> HeadReport {
        self.until("a head", |rig| rig.head().filter(|head| good(head))).await
    }

    /// A whole run, to its end.
    pub(super) async fn build(&mut self, run: &str, document: String) -> BuildReport {
        self.order(run, document);
        self.until_over(run).await
    }

    /// Asserts that it failed, and that its words have this in them.
    pub(super) async fn fails(&mut self, run: &str, document: String, part: &str) -> BuildReport {
        let report = self.build(run, document).await;
        let problem = report.problem.clone().unwrap_or_default();
        assert!(report.phase == BuildPhase::Failed && problem.contains(part), "{part:?} is not in {problem:?}: {report:#?}");
        report
    }

    /// A line that some step has printed, as far as it has been read.
    pub(super) fn has_printed(&self, run: &str, line: &str) -> bool {
        let log = self.folder.path().join("state/builds/runs").join(run).join("log");
        fs::read_to_string(log).unwrap_or_default().contains(&format!("\"line\":\"{line}\""))
    }

    /// The number of a file, if it is there.
    pub(super) fn inode(&self, path: &str) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        fs::symlink_metadata(self.folder.path().join(path)).ok().map(|found| found.ino())
    }

    /// Everything of builds that is left: files but those that are kept, and processes.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let below = |path: &str| {
            let folder = self.folder.path().join(path);
            let names = fs::read_dir(folder).into_iter().flatten().flatten();
            names.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
        };
        let within = ["state/nested/p", "state/nested/c", "run/nested/c", "state/nested/d", "run/nested/images"];
        let folders =
            ["state/builds/runs", "state/builds/c", "state/builds/raw", "run/builds/c", "run/builds/raw", "run/builds/images"];
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let builds = self.folder.path().join("state/builds").display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&builds)).map(str::to_owned);
        folders.into_iter().chain(within).flat_map(below).chain(mounts).chain(cgroups(self.folder.path())).collect()
    }
}

impl Drop for Rig {
    /// Whatever a failed test has left.
    fn drop(&mut self) {
        self.pause();
        let groups = cgroups(self.folder.path());
        for _ in 0..REMOVALS_MAX {
            self.kill_all();
            // The innermost first; one that still has processes stays for the next turn.
            let left = groups.iter().rev().filter(|group| fs::remove_dir(group).is_err() && Path::new(group).exists()).count();
            if left == 0 {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        for key in keys(self.folder.path()) {
            let _ = fs::remove_dir(key);
        }
        let images = ImageStore::open(&self.folder.path().join("state/images"));
        let _ = images.map(|images| images.unmount_all());
    }
}

impl Rig {
    fn kill_all(&self) {
        kill(self.pids());
    }

    /// The helpers that work in this rig's folders: in no cgroup of a step, and on for a moment when the step has ended.
    fn helpers(&self) -> Vec<i32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mentions = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&folder))
        };
        let all = fs::read_dir("/proc").expect("processes").flatten();
        let numbered = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = i32::try_from(std::process::id()).expect("a number");
        numbered.filter(|pid| *pid != ours).filter(mentions).collect()
    }

    /// The processes in the cgroups of steps.
    fn pids(&self) -> Vec<i32> {
        let groups = cgroups(self.folder.path());
        let lists = groups.iter().map(|group| fs::read_to_string(Path::new(group).join("cgroup.procs")).unwrap_or_default());
        lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }
}

fn kill(pids: Vec<i32>) {
    for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The cgroups of steps; those within others behind them.
fn cgroups(folder: &Path) -> Vec<String> {
    let below = |key: PathBuf| {
        let listed = Command::new("find").arg(key).args(["-mindepth", "1", "-type", "d"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    keys(folder).into_iter().flat_map(below).collect()
}

/// The groups that the steps' own lie in: named by a folder.
fn keys(folder: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = fs::metadata(folder.join("state/builds/c")) else { return Vec::new() };
    let key = format!("{:x}-{:x}", found.dev(), found.ino());
    let listed =
        Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*/coord/{key}"), "-prune"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    listed.lines().map(PathBuf::from).collect()
}

fn config(folder: &Path, url: &str, registry: &str) -> Config {
    let text = format!(
        "host = \"box\"\ncoordinator = [\"{url}\"]\ntoken = \"x\"\nstate_dir = \"{0}/state\"\nrun_dir = \"{0}/run\"\nhelpers = \"{1}\"\n\
         [builder]\nmemory = \"64MiB\"\ndisk = \"64MiB\"\n",
        folder.display(),
        helpers().display()
    );
    let path = folder.join("agent.toml");
    fs::write(&path, text).expect("written");
    let mut config = crate::config::load(&path).expect("a configuration");
    config.registries = vec![RegistryConfig { prefix: registry.to_owned(), insecure: true, ..RegistryConfig::default() }];
    config
}

fn helpers() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../target"), PathBuf::from);
    let helpers = target.join("x86_64-unknown-linux-musl/release");
    let built = helpers.join("coord-shim").exists() && helpers.join("coord-monitor").exists();
    assert!(
        built,
        "build the helpers first: cargo build --release --target x86_64-unknown-linux-musl -p coord-shim -p coord-monitor"
    );
    helpers
}

/// The smallest image in which a shell works.
fn busybox_layer(root: &Path) -> FakeLayer {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "var/keep"] {
        fs::create_dir_all(root.join(folder)).expect("a folder of the image");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("/bin/busybox: install busybox-static");
    for applet in [
        "sh", "cat", "dd", "echo", "id", "ls", "mkdir", "mkfifo", "sleep", "stat", "touch", "true", "yes", "env", "ln", "seq",
        "rm", "setsid", "kill", "chmod",
    ] {
        symlink("busybox", root.join("bin").join(applet)).expect("a link to busybox");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n").expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").expect("group");
    let packed = Command::new("tar").arg("-C").arg(root).args(["-cf", "-", "."]).output().expect("tar");
    assert!(packed.status.success());
    FakeLayer { diff_id: Digest::of(&packed.stdout), blob: packed.stdout.into() }
}
