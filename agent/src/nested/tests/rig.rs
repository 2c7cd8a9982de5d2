//! What the tests share: a host with one container that has a door, a registry with one image, and somebody who knocks.

use super::super::{Doors, Hands, NewParent, ParentKind};
use crate::containers::happenings::Happenings;
use coord_image::{ImageStore, Progress};
use coord_registry::fake::{FakeLayer, FakeRegistry};
use coord_registry::{Registry, RegistryConfig};
use coord_runtime::{ContainerSpec, EmbeddedRuntime, Isolation, LogPolicy, RecoveredState, Runtime as _, RuntimeEvent};
use coord_shared::document::{Nested as Permission, NestedNetwork};
use coord_shared::names::{Digest, ImageReference, PinnedImage};
use coord_shared::quantity::ByteSize;
use coord_shared::wire::nested::ChildView;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::LocalSet;

/// Nothing in these tests takes longer, unless it hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// Turns in which what a failed test has left is removed.
const REMOVALS_MAX: u32 = 200;

pub(super) struct Rig {
    pub(super) folder: tempfile::TempDir,
    pub(super) registry: FakeRegistry,
    pub(super) permission: Permission,
    pub(super) image: PinnedImage,
    pub(super) happenings: Happenings,
    images: Option<ImageStore>,
    pub(super) runtime: Option<EmbeddedRuntime>,
    pub(super) doors: Option<Doors>,
    pub(super) local: LocalSet,
    lowers: Vec<PathBuf>,
    /// The first process of the last parent.
    parent_pid: i32,
}

/// The one parent of most tests.
pub(super) const PARENT: &str = "web.0-r1-1";

impl Rig {
    /// A host whose one container runs.
    pub(super) async fn new() -> Self {
        let mut rig = Self::empty().await;
        rig.open(PARENT).await;
        rig
    }

    /// A host without containers.
    pub(super) async fn empty() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        // As the program does before anything else; the second test of a process finds it done.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // On a disk: an overlay does not take every file system as its upper layer.
        let folder = tempfile::tempdir_in("/var/tmp").expect("a temporary folder");
        let registry = FakeRegistry::start().await.expect("a registry");
        let layer = busybox_layer(&folder.path().join("image"));
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let digest = registry.put_image("tools/sh", "1", architecture, &[layer]);
        let reference: ImageReference = format!("{}/tools/sh:1", registry.host()).parse().expect("a reference");
        let permission = Permission {
            containers: 3,
            memory: None,
            cpus: None,
            pids: 300,
            images: vec![format!("{}/*", registry.host()).parse().expect("a pattern")],
            caches: ByteSize(16 << 20),
            network: NestedNetwork::None,
        };
        let mut rig = Self {
            folder,
            registry,
            permission,
            image: reference.pin(digest),
            happenings: Happenings::default(),
            images: None,
            runtime: None,
            doors: None,
            local: LocalSet::new(),
            lowers: Vec::new(),
            parent_pid: 0,
        };
        rig.start().await;
        let images = rig.images.clone().expect("images");
        let (reference, digest) = (rig.image.reference.clone(), rig.image.digest.clone());
        images.pull(&rig.client(), &reference, &digest, Arc::new(Progress::default())).await.expect("pulled");
        rig.lowers = images.mount(&digest).expect("mounted").lowers;
        rig
    }

    fn client(&self) -> Registry {
        let config = RegistryConfig { prefix: self.registry.host(), insecure: true, ..RegistryConfig::default() };
        Registry::new(vec![config], None).expect("a client")
    }

    /// Begins anew, as an agent that was killed and started again. Nothing of it lives on but containers and what is on the disk.
    pub(super) async fn restart(&mut self) {
        self.kill_agent();
        self.start().await;
    }

    pub(super) fn kill_agent(&mut self) {
        if let Some(doors) = &self.doors {
            // They know each other, which keeps both.
            doors.tools.doors().clear();
        }
        (self.doors, self.runtime, self.images) = (None, None, None);
        self.local = LocalSet::new();
    }

    pub(super) async fn start(&mut self) {
        let (state_dir, run_dir) = (self.path("state"), self.path("run"));
        fs::create_dir_all(&run_dir).expect("a folder");
        let images = ImageStore::open(&state_dir.join("images")).expect("an image store");
        let runtime = EmbeddedRuntime::open(&state_dir, &run_dir, &helpers(), Isolation::default()).expect("a runtime");
        let found = runtime.recover().expect("recovered");
        let running: BTreeSet<String> =
            found.into_iter().filter(|one| matches!(one.state, RecoveredState::Running(_))).map(|one| one.id).collect();
        let hands = Hands {
            host: "box".parse().expect("a host"),
            state_dir,
            run_dir,
            helpers_dir: helpers(),
            isolation: Isolation::default(),
            images: images.clone(),
            registry: self.client(),
            room: None,
            happenings: self.happenings.clone(),
        };
        let doors = {
            let _entered = self.local.enter();
            Doors::start(hands)
        };
        // As the daemon does.
        let (mut events, closing) = (runtime.events().expect("events"), doors.clone());
        self.local.spawn_local(async move {
            while let Some(RuntimeEvent::Exited { id, .. }) = events.recv().await {
                closing.close(&id).await;
            }
        });
        self.local.run_until(doors.recover(ParentKind::Instance, &runtime, &running)).await;
        (self.images, self.runtime, self.doors) = (Some(images), Some(runtime), Some(doors));
    }

    /// Starts a container with a door.
    pub(super) async fn open(&mut self, parent: &str) {
        let (doors, runtime) = (self.doors(), self.runtime());
        let new = NewParent {
            container: parent.to_owned(),
            shown: "web.0".to_owned(),
            kind: ParentKind::Instance,
            runtime: runtime.clone(),
            permission: self.permission.clone(),
            image: self.image.clone(),
        };
        let mounts = self.local.run_until(doors.open(new)).await.expect("a door");
        let args = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"].map(str::to_owned).to_vec();
        let log = LogPolicy { path: self.path("parent.jsonl"), max_bytes: 1 << 20, max_files: 1, ..LogPolicy::default() };
        let spec = ContainerSpec { mounts, nests: true, ..ContainerSpec::new(parent, self.lowers.clone(), args, log) };
        self.parent_pid = self.local.run_until(runtime.start(spec)).await.expect("a parent").pid;
    }

    pub(super) fn doors(&self) -> Doors {
        self.doors.clone().expect("doors")
    }

    pub(super) fn runtime(&self) -> EmbeddedRuntime {
        self.runtime.clone().expect("a runtime")
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(super) fn socket(&self, parent: &str, name: &str) -> PathBuf {
        self.path("state/nested/d").join(parent).join(name)
    }

    /// Runs something while the agent is at work.
    pub(super) async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        self.local.run_until(tokio::time::timeout(DEADLINE, work)).await.expect("in time")
    }

    /// Asks at the door: the status and the body.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        self.beside(ask(&self.socket(PARENT, "nested.sock"), method, path, body)).await
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, b"").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, body.to_string().as_bytes()).await
    }

    /// What a second container is asked for by, which runs this script.
    pub(super) fn script(&self, name: &str, script: &str) -> Value {
        json!({ "name": name, "image": self.image.reference.to_string(), "command": ["sh", "-c", script] })
    }

    /// Starts one that runs a script.
    pub(super) async fn run(&self, name: &str, script: &str) -> ChildView {
        let (status, body) = self.post("/v1/containers", self.script(name, script)).await;
        assert_eq!(status, 201, "{body}");
        serde_json::from_value(body).expect("a view")
    }

    /// Waits for its end.
    pub(super) async fn wait(&self, name: &str) -> ChildView {
        let (status, body) = self.ask("POST", &format!("/v1/containers/{name}/wait"), b"").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_value(body).expect("a view")
    }

    /// Asserts that something is refused, and by which words.
    pub(super) async fn refused(&self, asked: (&str, &str, &[u8]), expect: (u16, &str, &str)) {
        let (method, path, body) = asked;
        let (status, answer) = self.ask(method, path, body).await;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let (code, words) = (text("code"), format!("{} {}", text("message"), text("hint")));
        assert_eq!((status, code.as_str()), (expect.0, expect.1), "{method} {path}: {answer}");
        assert!(words.contains(expect.2), "{method} {path}: {:?} is not in {words:?}", expect.2);
    }

    /// Lets the agent work until something holds.
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
        found.unwrap_or_else(|_| panic!("{what} has not come; left: {:#?}", self.leftovers()))
    }

    /// Waits until nothing is left of what runs within containers.
    pub(super) async fn until_nothing_is_left(&self) {
        self.until("nothing", |rig| rig.leftovers().is_empty().then_some(())).await;
    }

    /// Everything of nested containers that is left: files but logs, mounts, and groups.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let below = |path: &str| {
            let names = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
            names.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
        };
        let folders =
            ["state/nested/p", "state/nested/c", "run/nested/c", "state/nested/d", "run/nested/images", "run/nested/lists"];
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let nested = self.path("state/nested").display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&nested)).map(str::to_owned);
        let groups = cgroups(&self.path("state/nested/c"));
        folders.into_iter().flat_map(below).chain(mounts).chain(groups).collect()
    }

    pub(super) fn pid_of_parent(&self) -> i32 {
        self.parent_pid
    }

    pub(super) fn pid_of(&self, view: &ChildView) -> i32 {
        view.pid.expect("a process")
    }
}

/// Asks at a door.
pub(super) async fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let stream = UnixStream::connect(socket).await.expect("a door");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let connection = tokio::task::spawn_local(connection);
    let request = Request::builder().method(method).uri(path).header("host", "door");
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    drop(connection);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

impl Drop for Rig {
    /// Whatever a failed test has left.
    fn drop(&mut self) {
        let groups: Vec<String> = ["state/nested/c", "state/c"].iter().flat_map(|folder| cgroups(&self.path(folder))).collect();
        let keys: Vec<PathBuf> = ["state/nested/c", "state/c"].iter().flat_map(|folder| keys(&self.path(folder))).collect();
        self.kill_agent();
        for _ in 0..REMOVALS_MAX {
            kill(pids(&groups));
            // The innermost first; one that still has processes stays for the next turn.
            let left = groups.iter().rev().filter(|group| fs::remove_dir(group).is_err() && Path::new(group).exists()).count();
            if left == 0 {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        for key in keys {
            let _ = fs::remove_dir(key);
        }
        let images = ImageStore::open(&self.path("state/images"));
        let _ = images.map(|images| images.unmount_all());
    }
}

pub(super) fn is_alive(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

/// Waits without an agent.
pub(super) async fn until_gone(pid: i32) {
    let waiting = async {
        while is_alive(pid) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("its end");
}

pub(super) fn kill(pids: Vec<i32>) {
    for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn pids(groups: &[String]) -> Vec<i32> {
    let lists = groups.iter().map(|group| fs::read_to_string(Path::new(group).join("cgroup.procs")).unwrap_or_default());
    lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The cgroups of containers; those within others behind them.
fn cgroups(containers: &Path) -> Vec<String> {
    let below = |key: PathBuf| {
        let listed = Command::new("find").arg(key).args(["-mindepth", "1", "-type", "d"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    keys(containers).into_iter().flat_map(below).collect()
}

/// The groups that the containers' own lie in: named by a folder.
fn keys(containers: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = fs::metadata(containers) else { return Vec::new() };
    let key = format!("{:x}-{:x}", found.dev(), found.ino());
    let listed =
        Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*/coord/{key}"), "-prune"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    listed.lines().map(PathBuf::from).collect()
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
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).expect("a folder of the image");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("/bin/busybox: install busybox-static");
    for applet in
        ["sh", "cat", "echo", "env", "find", "hostname", "id", "kill", "ls", "sha256sum", "sleep", "test", "touch", "true"]
    {
        symlink("busybox", root.join("bin").join(applet)).expect("a link to busybox");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n").expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").expect("group");
    let packed = Command::new("tar").arg("-C").arg(root).args(["-cf", "-", "."]).output().expect("tar");
    assert!(packed.status.success());
    FakeLayer { diff_id: Digest::of(&packed.stdout), blob: packed.stdout.into() }
}
