//! What a document's mounts become on a host.

use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

struct Lab {
    dir: tempfile::TempDir,
    host: Host,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (state, run) = (dir.path().join("state"), dir.path().join("run"));
        for folder in [&state, &run] {
            std::fs::create_dir(folder).expect("made");
        }
        Self { host: Host { volumes: Volumes::new(&state, &run) }, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Mounts what `keys` say for a container of the instance `web.0`.
    fn mount(&self, keys: &str, container: &str) -> Result<Vec<Mount>, String> {
        let container: ContainerId = container.parse().expect("a container's name");
        let origin = Origin { instance: container.instance.clone(), anonymous: false, labels: BTreeMap::new() };
        asked(keys).iter().map(|mount| self.host.mount(mount, &container, &origin)).collect()
    }

    fn refusal(&self, source: &str) -> String {
        let source = self.path(source);
        self.mount(&format!("volumes = [\"{source}:/data\"]"), "web.0-r1-1").expect_err("refused")
    }
}

fn asked(keys: &str) -> Vec<document::Mount> {
    let text = format!("image = \"web\"\nhosts = [\"a\"]\n{keys}\n");
    document::parse(&text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("test", &text, false))).container.mounts
}

#[test]
fn volumes_of_images_are_kept_unless_the_document_mounts_there() {
    fn check(keys: &str, declared: &[&str], expect: &[&str]) {
        let declared: Vec<String> = declared.iter().map(|&target| target.to_owned()).collect();
        let shown: Vec<String> = wanted(&asked(keys), &declared).iter().map(ToString::to_string).collect();
        assert_eq!(shown, expect, "{keys} {declared:?}");
    }
    check("", &[], &[]);
    check("", &["/data", "/data/", "/b/./c"], &["/b/c", "/data"]);
    check("volumes = [\"named:/data\"]\ntmpfs = \"/run\"", &["/data", "/run"], &["named:/data", "/run"]);
    check("volumes = [\"named:/var/lib/db/log\"]", &["/var/lib/db"], &["/var/lib/db", "named:/var/lib/db/log"]);
    // What no container may have, no image gets.
    check("", &["/", "/proc", "/sys/x", "/dev", "relative", "/a/../proc", ""], &[]);
}

#[test]
fn an_instances_own_volume_is_the_same_after_a_replacement() {
    let lab = Lab::new();
    let first = lab.mount("volumes = [\"/cache\", \"data:/data:nocopy,ro\"]", "web.0-r1-1").expect("mounts");
    assert_eq!(lab.mount("volumes = [\"/cache\", \"data:/data:nocopy,ro\"]", "web.0-r2-1").expect("mounts"), first);
    let other = lab.mount("volumes = [\"/cache\", \"data:/data\"]", "web.1-r1-1").expect("mounts");
    let path = |mounts: &[Mount], at: usize| match &mounts[at].source {
        MountSource::Volume { path, copy_up } => (path.clone(), *copy_up),
        MountSource::Bind { .. } | MountSource::Tmpfs { .. } | MountSource::Parents { .. } => panic!("a volume was asked for"),
    };
    assert_ne!(path(&first, 0).0, path(&other, 0).0, "an instance's own");
    assert_eq!(path(&first, 1).0, path(&other, 1).0, "shared by name");
    assert_eq!([path(&first, 0).1, path(&first, 1).1, path(&other, 1).1], [true, false, true]);
    assert!(first[1].read_only && path(&first, 1).0.is_dir());
}

#[test]
fn what_is_mounted_must_be_there() {
    let lab = Lab::new();
    let path = lab.path("nothing");
    assert_eq!(
        lab.refusal("nothing"),
        format!("{path} is not on this host; make it, or mount a volume with a name, which is made by itself")
    );
    assert!(!Path::new(&path).exists(), "nothing is made");
    symlink("nothing", lab.path("link")).expect("linked");
    assert!(lab.refusal("link").contains("link is a symbolic link to what is not there"));
    std::fs::write(lab.path("file"), "").expect("written");
    assert!(lab.refusal("file/below").contains("a part of it is a file"));
    let mounts =
        lab.mount(&format!("volumes = [\"{}:/etc/app.conf:ro,rslave\"]", lab.path("file")), "web.0-r1-1").expect("a file");
    let real = Path::new(&lab.path("file")).canonicalize().expect("a path");
    let source = MountSource::Bind { path: real, propagation: Propagation::Slave };
    assert_eq!(mounts, [Mount { target: "/etc/app.conf".to_owned(), source, read_only: true }]);
}

#[test]
fn the_agents_own_folders_are_not_shown() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("state/images")).expect("made");
    symlink("state/images", lab.path("innocent")).expect("linked");
    for source in ["state", "state/images", "run", "innocent", "state/volumes"] {
        std::fs::create_dir_all(lab.path("state/volumes/data/_data/sub")).expect("made");
        assert!(lab.refusal(source).contains("lies in the agent's own folder"), "{source}");
    }
    // Both names are said, that of the link and what it leads to.
    assert!(lab.refusal("innocent").contains("innocent (") && lab.refusal("innocent").contains("state/images)"));
    let source = lab.path("state/volumes/data/_data/sub");
    assert!(lab.mount(&format!("volumes = [\"{source}:/sub\"]"), "web.0-r1-1").is_ok());
}

#[test]
fn memory_has_usual_permissions() {
    let lab = Lab::new();
    let mounts = lab.mount("tmpfs = [\"/a\", \"/b:size=1m,mode=0700\"]", "web.0-r1-1").expect("mounts");
    let sources: Vec<&MountSource> = mounts.iter().map(|mount| &mount.source).collect();
    let expect =
        [MountSource::Tmpfs { size_bytes: None, mode: 0o1777 }, MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: 0o700 }];
    assert_eq!(sources, expect.iter().collect::<Vec<_>>());
}
