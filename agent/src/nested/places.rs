//! Where everything of nested containers lies.
//!
//! ```text
//!   STATE/nested/d/PARENT/{nested.sock,stdio.sock,coord}     a door, as its container sees it at /run/coord
//!   RUN/nested/images/ID                                   the image that a second container uses, or is about to
//!   RUN/nested/c/ID, STATE/nested/c/ID                     second containers, as the runtime keeps them
//!   STATE/nested/p/PARENT/{parent.json,children/,caches/}  what an agent that starts finds
//!   STATE/log/nested/PARENT/CHILD.jsonl                    what they print
//! ```
//! All but the door's own folder is closed to other users.

use coord_shared::names::{ChildName, Digest};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A digest, or what was meant to be one.
const IMAGE_FILE_MAX_BYTES: u64 = 4096;
/// A record: names, words and some numbers.
const RECORD_MAX_BYTES: u64 = 1 << 20;

/// The folders.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
    logs: PathBuf,
}

impl Places {
    pub(super) fn new(state_dir: &Path, run_dir: &Path) -> Self {
        Self { state: state_dir.join("nested"), run: run_dir.join("nested"), logs: logs(&state_dir.join("log")) }
    }

    /// All parents' folders.
    pub(super) fn parents(&self) -> PathBuf {
        self.state.join("p")
    }

    pub(super) fn parent(&self, parent: &str) -> PathBuf {
        self.parents().join(parent)
    }

    pub(super) fn about(&self, parent: &str) -> PathBuf {
        self.parent(parent).join("parent.json")
    }

    pub(super) fn caches(&self, parent: &str) -> PathBuf {
        self.parent(parent).join("caches")
    }

    pub(super) fn children(&self, parent: &str) -> PathBuf {
        self.parent(parent).join("children")
    }

    pub(super) fn child(&self, parent: &str, child: &ChildName) -> PathBuf {
        self.children(parent).join(format!("{child}.json"))
    }

    /// What a second container has changed of its root.
    pub(super) fn upper(&self, container: &str) -> PathBuf {
        self.state.join("c").join(container).join("upper")
    }

    /// All doors' folders.
    pub(super) fn doors(&self) -> PathBuf {
        self.state.join("d")
    }

    pub(super) fn door(&self, parent: &str) -> PathBuf {
        self.doors().join(parent)
    }

    pub(super) fn log(&self, parent: &str, child: &ChildName) -> PathBuf {
        self.logs.join(parent).join(format!("{child}.jsonl"))
    }

    /// What a second container of the same image has printed of what it sees.
    pub(super) fn list_log(&self, container: &str) -> PathBuf {
        self.run.join("lists").join(format!("{container}.jsonl"))
    }

    fn images(&self) -> PathBuf {
        self.run.join("images")
    }

    /// Notes which image a second container uses: from then on nobody removes it.
    pub(super) fn note_image(&self, container: &str, image: &Digest) -> io::Result<()> {
        make_folder(&self.images())?;
        fs::write(self.images().join(container), image.as_str())
    }

    /// It uses none any more.
    pub(super) fn forget_image(&self, container: &str) {
        // One that stays is forgotten with the next boot.
        let _ = fs::remove_file(self.images().join(container));
    }

    /// Nobody uses any of them.
    pub(super) fn forget_images_but(&self, containers: &BTreeSet<String>) {
        for name in names(&self.images()).into_iter().filter(|name| !containers.contains(name)) {
            self.forget_image(&name);
        }
    }

    /// Whether earlier agents may have left second containers.
    pub(super) fn has_containers(&self) -> bool {
        [&self.state, &self.run].iter().any(|folder| !names(&folder.join("c")).is_empty())
    }
}

/// Where second containers' logs lie, in the folder of all logs.
pub fn logs(dir: &Path) -> PathBuf {
    dir.join("nested")
}

/// The images that second containers use.
pub(super) fn images(run_dir: &Path) -> BTreeSet<Digest> {
    let folder = Places::new(Path::new(""), run_dir).images();
    names(&folder).into_iter().filter_map(|name| read(&folder.join(name), IMAGE_FILE_MAX_BYTES).ok()?.parse().ok()).collect()
}

/// Makes a folder and its parents, closed to other users.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The names in a folder; none where there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A record of ours.
pub(super) fn read_record(path: &Path) -> io::Result<String> {
    read(path, RECORD_MAX_BYTES)
}

/// Replaces a record. Whole or not at all while the host stands; after a power cut nothing asks for it any more.
pub(super) fn write_record(path: &Path, record: &impl serde::Serialize) -> io::Result<()> {
    let unseen = path.with_extension("new");
    fs::write(&unseen, serde_json::to_vec(record).map_err(io::Error::other)?)?;
    fs::rename(&unseen, path)
}

fn read(path: &Path, limit_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(limit_bytes).read_to_string(&mut text)?;
    Ok(text)
}
