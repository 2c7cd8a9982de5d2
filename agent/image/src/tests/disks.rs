//! File systems of their own, for stores that fill them, lose their power, or can write no more.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Takes every mount at and in a folder away, the latest first.
pub(super) fn unmount_below(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places: Vec<PathBuf> = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect();
    for place in places.iter().rev().filter(|place| place.starts_with(folder)) {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

/// A tmpfs of a given size, unmounted when dropped.
pub(super) struct SmallDisk {
    pub(super) folder: TempDir,
}

impl SmallDisk {
    pub(super) fn new(size: &str) -> SmallDisk {
        let folder = TempDir::new().unwrap();
        let data = std::ffi::CString::new(format!("size={size}")).unwrap();
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), Some(data.as_c_str())).expect("these tests need root");
        SmallDisk { folder }
    }

    /// From here on nothing can be written, as after an error of the disk.
    pub(super) fn make_read_only(&self) {
        let flags = MountFlags::RDONLY;
        rustix::mount::mount_remount(self.folder.path(), flags, c"").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount_below(self.folder.path());
    }
}

/// An ext4 in a file in memory, through a loop device; unmounted when dropped.
///
/// Mounted so that the journal promises as little as it may: contents are not written before the names that lead to them, and a file
/// that takes another's place is not synced by itself. What survives here was synced.
pub(super) struct LoopDisk {
    folder: TempDir,
}

impl LoopDisk {
    pub(super) fn new(mebibytes: u32) -> LoopDisk {
        let folder = Self::folder();
        let file = folder.path().join("disk");
        fs::File::create(&file).unwrap().set_len(u64::from(mebibytes) << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "nodiscard", &file.display().to_string()]);
        Self { folder }.mounted()
    }

    /// The same disk after its power was cut at this moment: what was on its way there is lost.
    pub(super) fn after_power_cut(&self) -> LoopDisk {
        let folder = Self::folder();
        fs::copy(self.folder.path().join("disk"), folder.path().join("disk")).unwrap();
        Self { folder }.mounted()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn folder() -> TempDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
    }

    fn mounted(self) -> LoopDisk {
        fs::create_dir(self.path()).unwrap();
        let (file, root) = (self.folder.path().join("disk"), self.path());
        let options = "loop,data=writeback,noauto_da_alloc,commit=300";
        run("mount", &["-t", "ext4", "-o", options, &file.display().to_string(), &root.display().to_string()]);
        self
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        unmount_below(self.folder.path());
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
