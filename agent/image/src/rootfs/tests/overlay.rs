//! A container's view: its own layer over the EROFS mount, stacked with the options that the runtime uses.

use super::chain::Shelf;
use crate::rootfs;
use crate::store::FormatChoice;
use crate::tests::tarball::Tarball;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

struct Container {
    root: PathBuf,
    upper: PathBuf,
    _dir: tempfile::TempDir,
    _shelf: Shelf,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = unmount(&self.root, UnmountFlags::DETACH);
    }
}

fn container(format: FormatChoice) -> Container {
    let shelf = Shelf::new(format);
    let program = |path: &str| std::fs::read(path).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Tarball::new()
        .dir("./", 0o755)
        .dir("bin", 0o755)
        .entry(b"bin/id", b'0', 0o755, b"", &program("/usr/bin/id"))
        .entry(b"bin/set-id", b'0', 0o4755, b"", &program("/usr/bin/id"))
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.user.note", b"kept")])
        .entry(b"bin/capable", b'0', 0o755, b"", &program("/bin/grep"))
        .dir("etc", 0o755)
        .file("etc/conf", "lower")
        .file("etc/other", "lower, too")
        .dir("full", 0o755)
        .file("full/a", "a");
    let layer = shelf.add(layer);
    let lower = rootfs::mount(shelf.inner(), &[layer]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [root, upper, work] = ["root", "upper", "work"].map(|name| dir.path().join(name));
    for folder in [&root, &upper, &work] {
        std::fs::create_dir(folder).unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,volatile",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount("overlay", &root, "overlay", MountFlags::NODEV, options.as_c_str()).unwrap();
    Container { root, upper, _dir: dir, _shelf: shelf }
}

#[test]
fn a_container_can_do_what_it_can_over_directories() {
    for format in [FormatChoice::Auto, FormatChoice::Loop] {
        let container = container(format);
        let at = |name: &str| container.root.join(name);
        // Files and folders are changed, removed and replaced.
        std::fs::File::options().append(true).open(at("etc/conf")).unwrap().write_all(b", upper").unwrap();
        assert_eq!(std::fs::read_to_string(at("etc/conf")).unwrap(), "lower, upper");
        std::fs::rename(at("etc/other"), at("etc/renamed")).unwrap();
        assert_eq!(std::fs::read_to_string(at("etc/renamed")).unwrap(), "lower, too");
        std::fs::remove_dir_all(at("full")).unwrap();
        std::fs::create_dir(at("full")).unwrap();
        assert_eq!(std::fs::read_dir(at("full")).unwrap().count(), 0);
        assert!(has_xattr(&container.upper.join("full"), "trusted.overlay.opaque"));
        // Moving a folder of the image is refused, as everywhere; programs copy then.
        let moved = std::fs::rename(at("etc"), at("etc2")).unwrap_err();
        assert_eq!(moved.kind(), std::io::ErrorKind::CrossesDevices);
        std::fs::hard_link(at("bin/id"), at("bin/second")).unwrap();
        assert_eq!(std::fs::metadata(at("bin/second")).unwrap().nlink(), 2);
        let nameless = rustix::fs::openat(CWD, at("etc"), OFlags::TMPFILE | OFlags::RDWR, Mode::from_raw_mode(0o600)).unwrap();
        std::fs::File::from(nameless).write_all_at(b"x", 0).unwrap();
        std::fs::set_permissions(at("bin"), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(std::fs::metadata(at("bin")).unwrap().mode() & 0o777, 0o711);
        // Attributes come through, and through a copy into the upper layer.
        for _ in 0..2 {
            assert!(has_xattr(&at("bin/capable"), "security.capability"));
            assert!(has_xattr(&at("bin/capable"), "user.note"));
            std::fs::File::options().append(true).open(at("bin/capable")).unwrap();
        }
    }
}

fn has_xattr(path: &std::path::Path, name: &str) -> bool {
    match rustix::fs::lgetxattr(path, name, &mut [0; 64][..]) {
        Ok(_) => true,
        Err(Errno::NODATA) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn programs_run_with_the_rights_that_the_image_gives_them() {
    for format in [FormatChoice::Auto, FormatChoice::Loop] {
        let container = container(format);
        let output = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(container.root.join("bin").join(program));
            let done = command.args(arguments).uid(1000).gid(1000).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        };
        assert_eq!(output("id", &["-u"]), "1000\n");
        assert_eq!(output("set-id", &["-u"]), "0\n");
        assert_eq!(output("capable", &["CapEff", "/proc/self/status"]), "CapEff:\t0000000000000400\n");
    }
}
