//! The contents of a layer's files, before it is known what they are called: a folder of files named by numbers.
//!
//! Only the end of an archive says which entry a name stands for. So while it is read, contents go to files that no name of the archive
//! has a say in; each is then renamed to its place, once. They lie some hundreds to a folder: a file system searches a folder of tens of
//! thousands for each name that is added or taken away.

use crate::error::LayerError;
use crate::tree::{Contents, Data};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

/// Written between two looks at the disk's reserve.
const ROOM_EVERY_BYTES: u64 = 64 << 20;

/// Files in a folder: their names fit into one block of ext4.
const FILES_PER_FOLDER: u32 = 200;

/// Takes every content.
pub(crate) struct Numbered<'a> {
    folder: OwnedFd,
    current: Option<Current>,
    written_bytes: u64,
    /// Whether there is room for more.
    room: &'a (dyn Fn() -> Result<(), LayerError> + Sync),
}

struct Current {
    file: File,
    size: u64,
    /// Where the last write ended.
    end: u64,
}

impl<'a> Numbered<'a> {
    /// Into an empty folder.
    pub(crate) fn new(folder: OwnedFd, room: &'a (dyn Fn() -> Result<(), LayerError> + Sync)) -> Numbered<'a> {
        Numbered { folder, current: None, written_bytes: 0, room }
    }

    pub(crate) fn into_folder(self) -> OwnedFd {
        self.folder
    }
}

/// Where a content's file lies.
pub(super) fn path_of(content: u32) -> String {
    format!("{}/{}", content / FILES_PER_FOLDER, content % FILES_PER_FOLDER)
}

impl Contents for Numbered<'_> {
    fn wants(&self, _data: Data) -> bool {
        true
    }

    fn begin(&mut self, content: u32, _data: Data, size: u64) -> Result<(), LayerError> {
        let path = path_of(content);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || fs::openat(&self.folder, &path, flags, Mode::RUSR | Mode::WUSR);
        let made = match make() {
            Err(Errno::NOENT) => {
                fs::mkdirat(&self.folder, (content / FILES_PER_FOLDER).to_string(), Mode::RWXU).and_then(|()| make())
            }
            made => made,
        };
        let file = made.map_err(|e| LayerError::io("make the file of content", path.as_bytes(), e))?;
        self.current = Some(Current { file: File::from(file), size, end: 0 });
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        let current = self.current.as_mut().ok_or(LayerError::Stopped)?;
        current.file.write_all_at(bytes, at).map_err(|e| LayerError::io("write", b"content", e))?;
        current.end = at + bytes.len() as u64;
        let before = self.written_bytes;
        self.written_bytes += bytes.len() as u64;
        if before / ROOM_EVERY_BYTES != self.written_bytes / ROOM_EVERY_BYTES {
            (self.room)()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), LayerError> {
        let current = self.current.take().ok_or(LayerError::Stopped)?;
        if current.end < current.size {
            // A hole at the end.
            current.file.set_len(current.size).map_err(|e| LayerError::io("write", b"content", e))?;
        }
        Ok(())
    }

    fn forget(&mut self, content: u32) -> Result<(), LayerError> {
        let path = path_of(content);
        fs::unlinkat(&self.folder, &path, AtFlags::empty())
            .map_err(|e| LayerError::io("remove the file of content", path.as_bytes(), e))
    }
}
