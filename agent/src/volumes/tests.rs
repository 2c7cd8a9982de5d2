//! Volumes in a temporary folder: what keeps them, what refuses to let them go, and what malice can do.

use super::users::{MountLine, parse, place, volume_of};
use super::*;
use std::os::unix::fs::symlink;

struct Lab {
    dir: tempfile::TempDir,
    volumes: Volumes,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let volumes = Volumes::new(&dir.path().join("state"), &dir.path().join("run"));
        Self { dir, volumes }
    }

    fn claim(&self, name: &str, container: &str) -> PathBuf {
        self.volumes.claim(&volume(name), &id(container), &origin(container)).expect("a volume")
    }

    fn make(&self, name: &str) -> PathBuf {
        let data = self.claim(name, "web.0-r1-1");
        self.volumes.release(&id("web.0-r1-1"));
        data
    }

    fn left(&self) -> Vec<String> {
        let mut left = self.volumes.entries().expect("a folder");
        left.sort();
        left
    }
}

fn volume(name: &str) -> VolumeName {
    name.parse().expect("a volume's name")
}

fn id(container: &str) -> ContainerId {
    container.parse().expect("a container's name")
}

fn origin(container: &str) -> Origin {
    let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
    Origin { instance: id(container).instance, anonymous: false, labels }
}

#[tokio::test]
async fn a_volume_outlives_who_made_it() {
    let lab = Lab::new();
    assert_eq!(lab.volumes.list().await.expect("no folder, no volumes").volumes, []);
    let data = lab.claim("data", "db.0-r1-1");
    std::fs::write(data.join("file"), "content").expect("written");
    lab.volumes.release(&id("db.0-r1-1"));
    // Another container, and another instance: the same folder, as it was.
    for container in ["db.0-r2-1", "db.1-r1-1"] {
        assert_eq!(lab.claim("data", container), data);
        assert_eq!(std::fs::read_to_string(data.join("file")).expect("read"), "content");
    }
    let found = lab.volumes.inspect(&volume("data")).await.expect("a volume");
    assert_eq!((found.view.instance, found.view.anonymous), (Some(id("db.0-r1-1").instance), false));
    assert_eq!(found.view.used_by, [id("db.0-r2-1"), id("db.1-r1-1")]);
    assert!(found.view.created.is_some() && found.view.disk_bytes.is_some_and(|bytes| bytes >= 4096));
    assert_eq!((found.path, found.labels["team"].as_str()), (data, "shop"));
    assert_eq!(lab.left(), ["data"]);
}

#[tokio::test]
async fn many_containers_make_one_volume() {
    let lab = Lab::new();
    let claims = (0..8).map(|n| {
        let volumes = lab.volumes.clone();
        std::thread::spawn(move || {
            let container = format!("web.{n}-r1-1");
            volumes.claim(&volume("data"), &id(&container), &origin(&container)).expect("a volume")
        })
    });
    let claims: Vec<_> = claims.collect();
    for claim in claims {
        assert!(claim.join().expect("no panic").is_dir());
    }
    assert_eq!(lab.left(), ["data"]);
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let lab = Lab::new();
    let data = lab.claim("data", "db.0-r1-1");
    std::fs::write(data.join("file"), "content").expect("written");
    let refused = lab.volumes.remove(&volume("data")).await.expect_err("in use");
    assert_eq!(refused.to_string(), "volume data is used by db.0-r1-1");
    assert_eq!(
        lab.volumes.answer(&VolumesRequest::Remove { name: volume("data") }).await.expect_err("in use").code,
        "volume_in_use"
    );
    assert!(data.join("file").exists());
    lab.volumes.release(&id("db.0-r1-1"));
    lab.volumes.remove(&volume("data")).await.expect("removed");
    assert_eq!(lab.left(), [""; 0]);
    let gone = lab.volumes.remove(&volume("data")).await.expect_err("gone");
    assert_eq!(gone.to_string(), "there is no volume data on this host");
}

#[tokio::test]
async fn a_mount_in_a_volume_is_not_deleted() {
    let lab = Lab::new();
    let place = lab.make("data").join("disk");
    std::fs::create_dir(&place).expect("made");
    rustix::mount::mount("none", &place, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("mounted");
    std::fs::write(place.join("file"), "content").expect("written");
    let refused = lab.volumes.remove(&volume("data")).await;
    let is_there = place.join("file").exists();
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    assert!(matches!(refused, Err(VolumesError::Mounted { .. })), "{refused:?}");
    assert!(is_there);
    lab.volumes.remove(&volume("data")).await.expect("removed");
}

#[tokio::test]
async fn only_volumes_are_listed_and_removed() {
    let lab = Lab::new();
    lab.make("data");
    let folder = lab.volumes.folder().to_owned();
    for name in [".new-1", ".gone-1", "not a name"] {
        std::fs::create_dir_all(folder.join(name).join("0/deep")).expect("made");
    }
    std::fs::write(folder.join("file"), "").expect("written");
    symlink("/etc", folder.join("link")).expect("linked");
    let names: Vec<String> = lab.volumes.list().await.expect("a list").volumes.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["data"]);
    for name in ["file", "link"] {
        assert!(matches!(lab.volumes.remove(&volume(name)).await, Err(VolumesError::NotFound { .. })), "{name}");
    }
    for name in ["..", ".", "", "../state", "data/..", "/etc", ".gone-1", "a b", "data\n"] {
        assert!(name.parse::<VolumeName>().is_err(), "{name:?}");
    }
    lab.volumes.sweep();
    assert_eq!(lab.left(), ["data", "file", "link", "not a name"]);
}

#[tokio::test]
async fn a_record_decides_nothing() {
    let lab = Lab::new();
    let record = lab.make("data").with_file_name("volume.json");
    let put = |make: &dyn Fn(&Path)| {
        std::fs::remove_file(&record).expect("removed");
        make(&record);
    };
    let made_by_others: [&dyn Fn(&Path); 6] = [
        &|path| std::fs::write(path, "{").expect("written"),
        &|path| std::fs::write(path, [b' '; 1 << 20]).expect("written"),
        &|path| std::fs::write(path, r#"{"name":"other","created":"2026-01-01T00:00:00Z"}"#).expect("written"),
        &|path| std::fs::write(path, r#"{"name":"../data","created":"2026-01-01T00:00:00Z"}"#).expect("written"),
        &|path| symlink("/dev/zero", path).expect("linked"),
        &|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO"),
    ];
    for make in made_by_others {
        put(make);
        let found = lab.volumes.inspect(&volume("data")).await.expect("still a volume");
        assert_eq!((found.view.created, found.view.instance), (None, None));
    }
    lab.volumes.remove(&volume("data")).await.expect("removed");
}

#[test]
fn what_is_no_folder_is_no_volume() {
    let lab = Lab::new();
    let data = lab.make("data");
    std::fs::remove_dir(&data).expect("removed");
    symlink("/etc", &data).expect("linked");
    let claimed = lab.volumes.claim(&volume("data"), &id("a.0-r1-1"), &origin("a.0-r1-1"));
    assert!(matches!(claimed, Err(VolumesError::NotAFolder { .. })), "{claimed:?}");
}

#[tokio::test]
async fn deleting_survives_malice() {
    /// Deeper than a path can name, and than descriptors reach.
    const DEPTH: usize = 1200;
    let lab = Lab::new();
    let data = lab.make("data");
    let outside = lab.dir.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("file"), "content").expect("written");
    symlink(&outside, data.join("link")).expect("linked");
    nix::unistd::mkfifo(&data.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    // Names that the deletion itself gives.
    for name in ["0", "1", "2/3/4", "1x/0"] {
        std::fs::create_dir_all(data.join(name)).expect("made");
        std::fs::write(data.join(name).join("file"), "").expect("written");
    }
    let mode = rustix::fs::Mode::RWXU;
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(rustix::fs::CWD, &data, flags, mode).expect("opened");
    let name = "d".repeat(200);
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&at, &name, mode).expect("made");
        at = rustix::fs::openat(&at, &name, flags, mode).expect("opened");
    }
    drop(at);
    assert_eq!(size::disk_bytes(&data, clock::now().mono.0 + INSPECT_TIME_MAX), None, "no path reaches the last one");
    lab.volumes.remove(&volume("data")).await.expect("removed");
    assert_eq!(lab.left(), [""; 0]);
    assert!(outside.join("file").exists());
}

#[test]
fn sizes_count_what_lies_on_the_disk() {
    let lab = Lab::new();
    let data = lab.make("data");
    let until = clock::now().mono.0 + INSPECT_TIME_MAX;
    let size = || size::disk_bytes(&data, until).expect("a size");
    let empty = size();
    std::fs::write(data.join("file"), vec![1; 1 << 20]).expect("written");
    std::fs::hard_link(data.join("file"), data.join("again")).expect("linked");
    symlink("/usr", data.join("link")).expect("linked");
    std::fs::File::create(data.join("sparse")).and_then(|file| file.set_len(1 << 30)).expect("made");
    let more = size() - empty;
    assert!(((1 << 20)..(1 << 20) + 65536).contains(&more), "{more}");
    for n in 0..300 {
        std::fs::write(data.join(n.to_string()), "").expect("written");
    }
    assert_eq!(size::disk_bytes(&data, Duration::ZERO), None, "no time is left");
}

#[test]
fn own_volumes_are_named_after_instance_and_target() {
    let instance = id("web.0-r1-1").instance;
    let name = |target| own_name(&instance, target).expect("a name").to_string();
    assert_eq!(name("/data"), name("/data"));
    assert_ne!(name("/data"), name("/data2"));
    assert!(name("/data").starts_with("web.0.") && name("/data").len() == "web.0.".len() + TARGET_DIGITS);
    let longest = format!("{}.4294967295-r1-1", "a".repeat(63));
    assert!(own_name(&id(&longest).instance, "/data").is_ok());
}

#[test]
fn the_kernel_says_who_uses_what() {
    fn line(text: &str) -> MountLine {
        parse(text.as_bytes()).expect("a line")
    }
    let spaced = line(r"36 35 98:0 /a\040b\134 /mnt\011x rw,noatime master:1 - ext3 /dev/root rw,errors=continue");
    let expect = MountLine { device: "98:0".to_owned(), root: PathBuf::from("/a b\\"), point: PathBuf::from("/mnt\tx") };
    assert_eq!(spaced, expect);
    assert!(parse(b"").is_none() && parse(b"1 2 3:4").is_none());
    let mounts = [
        line("1 1 8:1 / / rw - ext4 /dev/a rw"),
        line("2 1 8:2 / /var rw - ext4 /dev/b rw"),
        line("3 1 8:3 /sub /var/lib rw - btrfs /dev/c rw"),
        line("4 1 8:4 /top /var/lib rw - btrfs /dev/d rw"),
        line("5 1 8:5 / /var/library rw - ext4 /dev/e rw"),
    ];
    let place = place(Path::new("/var/lib/coord/volumes"), &mounts).expect("a place");
    assert_eq!(place, ("8:4".to_owned(), PathBuf::from("/top/coord/volumes")));
    let user = |text: &str| volume_of(&line(text), &place).map(|name| name.to_string());
    assert_eq!(user("9 8 8:4 /top/coord/volumes/data/_data /data rw - btrfs /dev/d rw").as_deref(), Some("data"));
    assert_eq!(user("9 8 8:4 /top/coord/volumes/data/_data/sub /data rw - btrfs /dev/d rw").as_deref(), Some("data"));
    assert_eq!(user("9 8 8:3 /top/coord/volumes/data/_data /data rw - btrfs /dev/d rw"), None);
    assert_eq!(user("9 8 8:4 /top/coord/volumes /data rw - btrfs /dev/d rw"), None);
    assert_eq!(user("9 8 8:4 /top/coord/volumes/.gone-1/0/_data /data rw - btrfs /dev/d rw"), None);
}
