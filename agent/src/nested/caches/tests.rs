//! Tests of the caches of one container: a folder plays its root. They run as root, as the agent does.

mod faults;
mod publishing;
mod using;

use super::*;
use coord_runtime::MountSource;
use coord_shared::decide::Now;
use coord_shared::document::NestedNetwork;
use coord_shared::names::Digest;
use coord_shared::quantity::{ByteSize, Span};
use coord_shared::wire::nested::{CacheKind, CacheMount, Entry, NewCache, PutView, Verified};
use std::fs;
use std::time::Duration;

/// Caches of a container, and that container.
struct Lab {
    folder: tempfile::TempDir,
    caches: Caches,
}

fn permission(bytes: u64) -> Permission {
    let caches = ByteSize(bytes);
    Permission { containers: 8, memory: None, cpus: None, pids: 100, images: Vec::new(), caches, network: NestedNetwork::None }
}

fn lab() -> Lab {
    lab_of(1 << 20)
}

fn lab_of(bytes: u64) -> Lab {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("root")).expect("a root folder");
    let caches = open(folder.path(), bytes);
    Lab { folder, caches }
}

fn open(folder: &Path, bytes: u64) -> Caches {
    open_within(folder, bytes, folder.join("root"))
}

fn open_within(folder: &Path, bytes: u64, root: PathBuf) -> Caches {
    let open_root = Arc::new(move || fs::File::open(&root).map(OwnedFd::from));
    let obstacle = Arc::new(|path: &Path| Ok(path.ends_with("odd").then(|| "is odd".to_owned())));
    Caches::open(folder.join("caches"), permission(bytes), open_root, obstacle).expect("caches")
}

fn name(text: &str) -> CacheName {
    text.parse().expect("a name")
}

fn child(text: &str) -> ChildName {
    text.parse().expect("a name")
}

fn asked(text: &str) -> NewCache {
    let (name, path) = (name(text), format!("/{text}"));
    NewCache { name, path, ttl: None, ttl_from: Default::default(), from: None, size: None }
}

fn mount(text: &str, read_only: bool) -> CacheMount {
    CacheMount { name: name(text), path: None, read_only }
}

fn code<T: std::fmt::Debug>(result: Result<T, ErrorBody>) -> String {
    result.expect_err("refused").code
}

impl Lab {
    fn root(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    async fn create(&self, text: &str) -> CacheView {
        self.caches.create(asked(text)).await.expect("a cache")
    }

    async fn put(&self, cache: &str, path: &str, content: &'static [u8]) -> Result<PutView, ErrorBody> {
        self.caches.put_file(&name(cache), path, 0o644, content).await
    }

    async fn mount(&self, by: &str, cache: &str, read_only: bool) -> Mounted {
        let mut mounted = self.caches.mount(&child(by), &[mount(cache, read_only)]).await.expect("mounted");
        mounted.pop().expect("one")
    }

    /// What a container with this mount sees: its root has what is mounted.
    async fn inspect(&self, mounted: &Mounted) -> Result<Verified, String> {
        let folder = match &mounted.mount.source {
            MountSource::Volume { path, .. } => path.clone(),
            MountSource::Parents { path } => self.root(path.strip_prefix("/").expect("absolute").to_str().expect("text")),
            other @ (MountSource::Bind { .. } | MountSource::Tmpfs { .. }) => panic!("{other:?}"),
        };
        let root = tempfile::tempdir().expect("a folder");
        // In a container it is mounted; the same files in the same place do as well.
        fs_copy(&folder, &root.path().join(mounted.view.path.trim_start_matches('/')));
        let root = fs::File::open(root.path()).map(OwnedFd::from).expect("a folder");
        Ok(self.caches.inspect(std::slice::from_ref(mounted), &root).await?.remove(0))
    }

    async fn paths(&self, cache: &str) -> Vec<String> {
        let entries = self.caches.entries(&name(cache)).await.expect("a list");
        entries.into_iter().map(|entry: Entry| entry.path).collect()
    }

    /// As after the agent was killed.
    fn reopened(self) -> Lab {
        let caches = open(self.folder.path(), 1 << 20);
        Lab { caches, ..self }
    }

    fn on_disk(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("caches")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn used_bytes(&self) -> u64 {
        self.caches.inner.quota.used().bytes
    }
}

fn fs_copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let status = std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().expect("cp");
    assert!(status.success());
}

/// So much later; a wall clock that was set a year ahead or back changes nothing.
fn later(seconds: u64, wall_jumps_s: i64) -> Now {
    let now = clock::now();
    Now { mono: now.mono.after(Duration::from_secs(seconds)), wall: now.wall + jiff::SignedDuration::from_secs(wall_jumps_s) }
}
