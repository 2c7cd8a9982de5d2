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
        sweep(&self.state_dir(), &self.run_dir(), Path::new("/nonexistent"), Isolation::default()).await.expect("swept")
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
fn no_two_have_the_same_users() {
    let pool = Isolation { first_user: 1_000_000, user_count: 3 * USERS_PER_CONTAINER, ..Isolation::default() };
    let first = |number| own_users(pool, number).first_user;
    assert_eq!([first(0), first(1), first(2)], [2, 1, 0].map(|range| 1_000_000 + range * USERS_PER_CONTAINER));
    assert_eq!(own_users(pool, 0).user_count, USERS_PER_CONTAINER);
    let host = Host::new();
    let top = host.run_dir().join("one-off");
    for (name, number) in [("1", 0), ("2", 1), ("4", 3)] {
        assert_eq!(free_users(&top), number.min(2));
        fs::create_dir_all(top.join(name)).expect("a folder");
        fs::write(top.join(name).join("users"), number.to_string()).expect("a number");
    }
    assert_eq!(free_users(&top), 2);
}

#[test]
fn its_container_has_a_name_that_no_document_gives() {
    let host = Host::new();
    let place = host.make();
    assert_eq!(place.container().to_string(), format!("run.{}-r1-1", std::process::id()));
}
