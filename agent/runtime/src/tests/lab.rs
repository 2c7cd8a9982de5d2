//! What the tests share: a throw-away root of busybox, and a runtime that is cleaned up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;

use crate::{
    Backend, ContainerSpec, EmbeddedRuntime, Exit, Isolation, LogPolicy, Resources, Runtime, RuntimeEvent, UserNamespaces,
};

/// Nothing in these tests takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Names the OCI runtime that runs every container of these tests; the embedded one does where it is not set.
pub(super) const RUNTIME: &str = "COORD_TEST_RUNTIME";

/// The OCI runtime that runs the containers of these tests, if one does: `crun`.
pub(super) fn runtime_name() -> Option<String> {
    let program = std::env::var_os(RUNTIME).map(PathBuf::from)?;
    Some(program.file_name()?.to_string_lossy().into_owned())
}

/// A host's folders, and a runtime in them.
pub(super) struct Lab {
    folder: tempfile::TempDir,
    pub(super) runtime: EmbeddedRuntime,
    events: Receiver<RuntimeEvent>,
}

impl Lab {
    pub(super) fn new() -> Lab {
        // On a disk: an overlay does not take every file system as its upper layer.
        Lab::at(tempfile::tempdir_in("/var/tmp").expect("a temporary folder"))
    }

    fn at(folder: tempfile::TempDir) -> Lab {
        assert!(rustix::process::geteuid().is_root(), "this test makes namespaces: run it as root");
        make_busybox_root(&folder.path().join("image"));
        let runtime = open(folder.path());
        let events = runtime.events().expect("the events of a new runtime");
        Lab { folder, runtime, events }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another agent on the same folders, as after a crash of the first.
    pub(super) fn restart(&mut self) {
        self.runtime = open(self.folder.path());
        self.events = self.runtime.events().expect("the events of a new runtime");
    }

    /// An agent that starts no container without users of its own.
    pub(super) fn require_users(&mut self) {
        let isolation = Isolation { user_namespaces: UserNamespaces::Require, ..Isolation::default() };
        let (state, run) = (self.path("state"), self.path("run"));
        self.runtime = EmbeddedRuntime::open(&state, &run, &helpers(), isolation).expect("the runtime to open");
        self.events = self.runtime.events().expect("the events of a new runtime");
    }

    /// A container that runs a shell script.
    pub(super) fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        spec_in(self.folder.path(), id, script)
    }

    /// Waits for the end of container `id`.
    pub(super) async fn exit(&mut self, id: &str) -> Exit {
        let (ended, exit) = self.any_exit().await;
        assert_eq!(ended, id);
        exit
    }

    /// Waits for the end of any container.
    pub(super) async fn any_exit(&mut self) -> (String, Exit) {
        let next = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        let RuntimeEvent::Exited { id, exit } = next.expect("a container to end in time").expect("an event");
        (id, exit)
    }

    /// Runs a script to its end. Returns what it wrote, standard error too, and how it ended. Removes the container.
    pub(super) async fn output(&mut self, spec: ContainerSpec) -> (String, Exit) {
        let (id, log) = (spec.id.clone(), spec.log.path.clone());
        self.runtime.start(spec).await.expect("the container to start");
        let exit = self.exit(&id).await;
        self.runtime.remove(&id).await.expect("the container to be removed");
        (log_text(&log), exit)
    }

    /// The names of what is left of containers: folders and cgroups.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let names = |folder: PathBuf| {
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path().display().to_string())
        };
        let cgroups = self.runtime.0.cgroups.strays(&std::collections::BTreeSet::new());
        let cgroups = cgroups.into_iter().map(|cgroup| format!("{cgroup:?}"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let folder = self.folder.path().display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect::<Vec<_>>();
        names(self.path("state/c")).chain(names(self.path("run/c"))).chain(cgroups).chain(mounts).collect()
    }
}

/// Scopes of container `id` that systemd takes for running; none on hosts without systemd.
pub(super) fn scopes(id: &str) -> String {
    let arguments = ["list-units", "--no-legend", "--plain", &format!("coord-{id}-*.scope")];
    let output = std::process::Command::new("systemctl").args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

impl Drop for Lab {
    /// Recovery by another runtime finds whatever a failed test has left.
    fn drop(&mut self) {
        let (in_memory, on_disk) = self.runtime.0.folders.list().unwrap_or_default();
        for id in in_memory.iter().chain(&on_disk) {
            if let Err(error) = self.runtime.0.clean(id) {
                eprintln_once(&format!("{id} is left over: {error}"));
            }
        }
        for stray in self.runtime.0.cgroups.strays(&std::collections::BTreeSet::new()) {
            stray.remove_now();
        }
        self.runtime.0.cgroups.remove_own_folders();
    }
}

fn eprintln_once(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A runtime in a lab's folder.
pub(super) fn open(folder: &Path) -> EmbeddedRuntime {
    let (state, run) = (folder.join("state"), folder.join("run"));
    EmbeddedRuntime::open(&state, &run, &helpers(), Isolation::default()).expect("the runtime to open")
}

/// The static helpers of this build.
fn helpers() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../../target"), PathBuf::from);
    let helpers = target.join("x86_64-unknown-linux-musl/release");
    let built = helpers.join("coord-shim").exists() && helpers.join("coord-monitor").exists();
    let command = "cargo build --release --target x86_64-unknown-linux-musl -p coord-shim -p coord-monitor";
    assert!(built, "build the helpers first: {command}");
    helpers
}

/// The smallest image in which a shell works.
fn make_busybox_root(root: &Path) {
    for folder in ["bin", "dev", "etc", "home/app", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).expect("a folder of the image");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("/tmp to be open for all");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("/bin/busybox: install busybox-static");
    let applets = [
        "cat", "chroot", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "kill", "ln", "ls", "mkdir",
        "mknod", "mount", "ps", "pwd", "readlink", "rm", "seq", "sh", "sleep", "stat", "stty", "tail", "touch", "tr", "true",
        "tty", "umount", "unshare", "usleep", "wc", "yes",
    ];
    for applet in applets {
        symlink("busybox", root.join("bin").join(applet)).expect("a link to busybox");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n").expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\nstaff:x:50:app\n").expect("group");
}

/// The messages of a log, a line each. A last line that is being written is not counted yet.
pub(super) fn log_text(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let text = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let message = |line: &str| {
        let line = serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON");
        format!("{}\n", line["m"].as_str().expect("a message"))
    };
    text.lines().map(message).collect()
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, holds).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// A container in a lab's folder that runs a shell script.
pub(super) fn spec_in(folder: &Path, id: &str, script: &str) -> ContainerSpec {
    let log =
        LogPolicy { path: folder.join(format!("log/{id}.jsonl")), max_bytes: 1 << 20, max_files: 3, ..LogPolicy::default() };
    let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ContainerSpec {
        env: vec![("PATH".to_owned(), "/bin".to_owned())],
        hostname: "box".to_owned(),
        backend: std::env::var_os(RUNTIME).map_or(Backend::Embedded, |program| Backend::External(program.into())),
        resources: Resources { memory_bytes: Some(64 << 20), pids: Some(50), ..Resources::default() },
        meta: serde_json::json!({ "made-by": "test" }),
        ..ContainerSpec::new(id, vec![folder.join("image")], args, log)
    }
}
