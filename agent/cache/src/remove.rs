//! Removing what strangers made, whatever they made of it.
//!
//! A container that may write can make folders within folders without end; whoever goes down into them runs out of descriptors or of
//! stack. So nobody goes down: what is below is moved up and removed there.

use crate::CacheError;
use crate::disk;
use rustix::fs::{AtFlags, FileType};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Names that are read of a folder at a time, so that one with millions needs no memory for them.
const BATCH: usize = 4096;
/// How often a folder is looked at while it does not become empty: somebody may still be writing into it.
const ROUNDS_WITHOUT_END: usize = 10_000_000;

/// Removes a folder with all that is in it, without following links. It is no error when it is not there.
///
/// # Errors
/// With what could not be removed.
pub fn remove_tree(folder: &Path) -> Result<(), CacheError> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(CacheError::io("remove", b"/", io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let name = name.as_encoded_bytes();
    let failed = |error: io::Error| CacheError::io("remove", name, error);
    let parent = match File::open(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let stat = match disk::look(&parent, name).map_err(failed)? {
        None => return Ok(()),
        Some(stat) => stat,
    };
    if disk::kind(&stat) != FileType::Directory {
        return rustix::fs::unlinkat(&parent, name, AtFlags::empty()).map_err(|error| failed(error.into()));
    }
    empty(&disk::open_folder(&parent, name)?)?;
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(|error| failed(error.into()))
}

/// Empties `top`: folders in it give up their files, and hand their folders to it.
fn empty(top: impl AsFd) -> Result<(), CacheError> {
    let mut moved: u64 = 0;
    for _ in 0..ROUNDS_WITHOUT_END {
        let names = disk::some_names(&top, BATCH)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            let failed = |error: io::Error| CacheError::io("remove", &name, error);
            match rustix::fs::unlinkat(&top, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => continue,
                Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
                Err(error) => return Err(failed(error.into())),
            }
            flatten(&top, &name, &mut moved)?;
            match rustix::fs::unlinkat(&top, name.as_slice(), AtFlags::REMOVEDIR) {
                // Not empty: the next round goes on with it.
                Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
    Err(CacheError::io("remove", b"a folder that is still written to", io::Error::from(io::ErrorKind::ResourceBusy)))
}

/// Removes files of the folder `name` in `top`, and moves its folders up into `top`.
fn flatten(top: impl AsFd, name: &[u8], moved: &mut u64) -> Result<(), CacheError> {
    let folder = disk::open_folder(&top, name)?;
    for inner in disk::some_names(&folder, BATCH)? {
        let failed = |error: io::Error| CacheError::io("remove", &inner, error);
        match rustix::fs::unlinkat(&folder, inner.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => continue,
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(failed(error.into())),
        }
        // An empty one needs no move; most are.
        if rustix::fs::unlinkat(&folder, inner.as_slice(), AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        loop {
            *moved += 1;
            let up = format!(".removed-{moved}");
            match rustix::fs::renameat_with(&folder, inner.as_slice(), &top, up, rustix::fs::RenameFlags::NOREPLACE) {
                Ok(()) => break,
                Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
    Ok(())
}
