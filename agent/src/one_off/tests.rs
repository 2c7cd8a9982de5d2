//! Places are made, held, and removed once nobody holds them.

use super::*;

struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn make(&self) -> Place {
        Place::make(&self.state_dir(), &self.run_dir()).expect("a place")
    }

    async fn sweep(&self) -> usize {
        sweep(&self.state_dir(), &self.run_dir(), Path::new("/nonexistent")).await.expect("swept")
    }

    fn folders(&self) -> usize {
        folders(&self.state_dir(), &self.run_dir()).into_iter().filter(|(state, run)| state.exists() || run.exists()).count()
    }
}

#[tokio::test]
async fn a_place_is_left_alone_while_somebody_holds_it() {
    let host = Host::new();
    let place = host.make();
    let image = Digest::of(b"image");
    place.note_image(&image).expect("noted");
    assert_eq!(host.sweep().await, 0);
    assert_eq!((host.folders(), images(&host.run_dir())), (1, BTreeSet::from([image])));
    // As when the process is killed.
    drop(place);
    assert_eq!(host.sweep().await, 1);
    assert_eq!((host.folders(), images(&host.run_dir())), (0, BTreeSet::new()));
    assert_eq!(host.sweep().await, 0);
}

#[tokio::test]
async fn what_an_earlier_boot_left_is_removed() {
    let host = Host::new();
    drop(host.make());
    // What must not survive a reboot has not.
    fs::remove_dir_all(host.run_dir()).expect("gone");
    assert_eq!(host.folders(), 1);
    assert_eq!(host.sweep().await, 1);
    assert_eq!(host.folders(), 0);
}

#[test]
fn what_is_no_place_is_nobodys_image() {
    let host = Host::new();
    let folder = host.run_dir().join("one-off/7");
    fs::create_dir_all(&folder).expect("a folder");
    for text in ["", "sha256:short", &"x".repeat(100_000)] {
        fs::write(folder.join("image"), text).expect("a file");
        assert_eq!(images(&host.run_dir()), BTreeSet::new());
    }
    assert_eq!(images(Path::new("/nonexistent")), BTreeSet::new());
}

#[test]
fn its_container_has_a_name_that_no_document_gives() {
    let host = Host::new();
    let place = host.make();
    assert_eq!(place.container().to_string(), format!("run.{}-r1-1", std::process::id()));
}
