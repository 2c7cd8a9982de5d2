//! Volumes, folders of the host, memory and devices, as containers see them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use super::lab::Lab;
use crate::{ContainerSpec, DeviceFile, Mount, MountSource, Propagation, Runtime};

fn bind(path: &Path, target: &str, read_only: bool) -> Mount {
    let source = MountSource::Bind { path: path.to_owned(), propagation: Propagation::Private };
    Mount { target: target.to_owned(), source, read_only }
}

fn volume(path: &Path, target: &str) -> Mount {
    Mount { target: target.to_owned(), source: MountSource::Volume { path: path.to_owned(), copy_up: true }, read_only: false }
}

fn tmpfs(target: &str, size_bytes: u64, mode: u32) -> Mount {
    Mount { target: target.to_owned(), source: MountSource::Tmpfs { size_bytes: Some(size_bytes), mode }, read_only: false }
}

fn with_mounts(mut spec: ContainerSpec, mounts: Vec<Mount>) -> ContainerSpec {
    spec.mounts = mounts;
    spec
}

#[tokio::test]
async fn root_folders_of_the_host_are_mounted() {
    let mut lab = Lab::new();
    let data = lab.path("data");
    fs::create_dir_all(data.join("inner")).expect("a folder");
    fs::write(data.join("file"), "text").expect("a file");
    chown(data.join("file"), Some(1000), Some(50)).expect("an owner");
    // Device files and setuid programs of the host's are neither in a container.
    let script =
        "cat /data/file; echo; stat -c %u:%g /data /data/file; touch /data/made /data/inner/made && chown 4711 /data/made
        (echo x >/ro/file) 2>&1 | grep -c 'Read-only'; (echo x >/ro/inner/file) 2>&1 | grep -c 'Read-only'
        cat /one/file; echo; grep -E ' /(data|one/file) ' /proc/mounts | grep -c nosuid,nodev; stat -c %u:%g /deep/er";
    let file = data.join("file");
    let mounts = vec![
        bind(&data, "/data", false),
        bind(&data, "/ro", true),
        bind(&file, "/one/file", true),
        bind(&data, "/deep/er/x", true),
    ];
    let (log, _) = lab.output(with_mounts(lab.spec("binds", script), mounts)).await;
    assert_eq!(log, "text\n0:0\n1000:50\n1\n1\ntext\n2\n0:0\n");
    // On disk, the owners are those that the container has given.
    assert_eq!(fs::metadata(data.join("made")).expect("a file").uid(), 4711);
    assert_eq!(fs::metadata(data.join("inner/made")).expect("a file").uid(), 0);
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_mounts_lead_nowhere_by_symlinks() {
    let mut lab = Lab::new();
    let data = lab.path("data");
    fs::create_dir(&data).expect("a folder");
    for (target, link) in [("/proc", "to-proc"), ("/sys/kernel", "to-sys"), ("dev", "to-dev"), ("../../../../tmp", "up")] {
        symlink(target, lab.path("image").join(link)).expect("a link");
    }
    for link in ["to-proc", "to-sys", "to-dev"] {
        let spec = with_mounts(lab.spec("trap", "true"), vec![bind(&data, &format!("/{link}"), false)]);
        let error = lab.runtime.start(spec).await.expect_err("it must be refused");
        assert!(error.to_string().contains(&format!("cannot mount /{link}")), "{error}");
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    }
    // One that stays in the root is followed there.
    let spec = with_mounts(lab.spec("up", "touch /up/x; ls /tmp"), vec![bind(&data, "/up", false)]);
    assert_eq!(lab.output(spec).await.0, "x\n");
    assert!(data.join("x").exists());
}

#[tokio::test]
async fn root_what_cannot_be_mounted_is_said() {
    let lab = Lab::new();
    let check = async |mount: Mount, expect: &str| {
        let error = lab.runtime.start(with_mounts(lab.spec("bad", "true"), vec![mount])).await.expect_err(expect);
        assert!(error.to_string().contains(expect), "{error} ... expected: {expect}");
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    };
    let missing = lab.path("missing");
    check(bind(&missing, "/data", false), &format!("cannot mount /data: {}: No such file", missing.display())).await;
    check(bind(Path::new("/etc/hostname"), "/bin", false), "cannot mount /bin: it is a folder in the image").await;
    check(bind(Path::new("/etc"), "/etc/passwd", false), "cannot mount /etc/passwd").await;
    check(bind(Path::new("/etc"), "/proc/x", false), "the kernel's").await;
}

#[tokio::test]
async fn root_memory_has_a_size_and_a_mode() {
    let mut lab = Lab::new();
    let script = "stat -c %a:%u /work /dev/shm; dd if=/dev/zero of=/work/big bs=1024 count=200 2>&1 | grep -c 'No space'
        grep ' /work ' /proc/mounts | grep -c nosuid,nodev,noexec; grep ' /dev/shm ' /proc/mounts | grep -c size=128k
        touch /ro/x 2>/dev/null || echo no; grep -c ' /dev/hugetmp ' /proc/mounts; touch /x 2>/dev/null || echo no";
    let mut spec = lab.spec("memory", script);
    let ro = Mount { read_only: true, ..tmpfs("/ro", 1 << 16, 0o755) };
    spec.mounts = vec![tmpfs("/work", 64 << 10, 0o700), ro, tmpfs("/dev/hugetmp", 1 << 16, 0o755)];
    (spec.shm_bytes, spec.read_only) = (128 << 10, true);
    assert_eq!(lab.output(spec).await.0, "700:0\n1777:0\n1\n1\n1\nno\n1\nno\n");
}

#[tokio::test]
async fn root_volumes_are_filled_from_the_image_once() {
    let mut lab = Lab::new();
    let image = lab.path("image/srv");
    fs::create_dir_all(image.join("sub")).expect("a folder");
    fs::write(image.join("file"), "image").expect("a file");
    fs::hard_link(image.join("file"), image.join("sub/same")).expect("a link");
    symlink("/etc/shadow", image.join("link")).expect("a link");
    chown(image.join("file"), Some(1000), Some(50)).expect("an owner");
    chown(&image, Some(1000), Some(1000)).expect("an owner");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o2750)).expect("a mode");
    fs::set_permissions(image.join("file"), fs::Permissions::from_mode(0o640)).expect("a mode");
    rustix::fs::setxattr(image.join("file"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).expect("an attribute");
    let data = lab.path("volumes/v/_data");
    fs::create_dir_all(&data).expect("a folder");

    let script =
        "stat -c %u:%g:%a /srv /srv/file; cat /srv/sub/same; echo; readlink /srv/link; stat -c %h /srv/file; echo new >/srv/file";
    let (log, _) = lab.output(with_mounts(lab.spec("fills", script), vec![volume(&data, "/srv")])).await;
    assert_eq!(log, "1000:1000:2750\n1000:50:640\nimage\n/etc/shadow\n2\n");
    let on_disk = fs::metadata(data.join("file")).expect("a file");
    assert_eq!((on_disk.uid(), on_disk.gid(), on_disk.nlink()), (1000, 50, 2));
    let mut note = [0; 16];
    let length = rustix::fs::getxattr(data.join("file"), "user.note", &mut note[..]).expect("an attribute");
    assert_eq!(&note[..length], b"kept");
    assert!(!lab.path("volumes/v/.filling").exists());
    // What the volume holds now is its own.
    let (log, _) = lab.output(with_mounts(lab.spec("keeps", "cat /srv/file"), vec![volume(&data, "/srv")])).await;
    assert_eq!(log, "new\n");
    assert_eq!(fs::read_to_string(image.join("file")).expect("a file"), "image");

    // A copy that was cut short is made anew.
    fs::write(lab.path("volumes/v/.filling"), "").expect("a mark");
    let (log, _) = lab.output(with_mounts(lab.spec("again", "cat /srv/file"), vec![volume(&data, "/srv")])).await;
    assert_eq!(log, "image\n");
    // With the host's users, the same.
    let other = lab.path("volumes/w/_data");
    fs::create_dir_all(&other).expect("a folder");
    let mut spec = with_mounts(lab.spec("host", "stat -c %u:%g /srv/file"), vec![volume(&other, "/srv")]);
    spec.security.host_users = true;
    assert_eq!(lab.output(spec).await.0, "1000:50\n");
    assert_eq!(fs::metadata(other.join("file")).expect("a file").uid(), 1000);
}

#[tokio::test]
async fn root_devices_are_given_by_name() {
    let mut lab = Lab::new();
    let device = |target: &str, write: bool| DeviceFile { source: "/dev/full".into(), target: target.into(), read: true, write };
    // No other device can be used, even where one is.
    let script = "stat -c %u:%a /dev/mine /dev/read; head -c 2 /dev/mine | wc -c; (echo x >/dev/mine) 2>&1 | grep -c 'No space'
        ls /dev | grep -v core | tr '\\n' ' '; for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; echo x >/dev/null";
    let mut spec = lab.spec("devices", script);
    spec.devices = vec![device("/dev/mine", true), device("/dev/read", false)];
    let (log, _) = lab.output(spec).await;
    let all = "fd full mine mqueue null ptmx pts random read shm stderr stdin stdout tty urandom zero ";
    assert_eq!(log.trim_end(), format!("0:666\n0:444\n2\n1\n{all}").trim_end());

    let mut spec = lab.spec("missing", "true");
    spec.devices = vec![DeviceFile { source: "/dev/not-there".into(), ..device("/dev/x", true) }];
    let error = lab.runtime.start(spec).await.expect_err("there is no such device");
    assert!(error.to_string().contains("device /dev/not-there: No such file"), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
