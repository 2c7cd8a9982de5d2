//! The last steps of a pull: the image's layers as one root file system, and its record.

use crate::error::StoreError;
use crate::record::ImageRecord;
use crate::store::{Inner, Scratch, disk};
use crate::{Image, ImageStore, directories, rootfs};
use coord_shared::names::Digest;
use std::io;
use std::path::Path;

/// Makes what belongs to the layers together, so that a start finds it; then writes the image's record, which makes it an image.
pub(super) fn finish(store: &ImageStore, record: &ImageRecord, diff_ids: &[Digest]) -> Result<Image, StoreError> {
    let inner = &store.inner;
    let scratch = Scratch { path: inner.tmp_path() };
    // The disk writes the record, and where the layers are, while the processor merges their trees.
    let layers = inner.layers_dir();
    let written = std::thread::scope(|scope| {
        let write = || record.write(&scratch.path).and_then(|()| disk::sync_together(&[&scratch.path, &layers]));
        let writing = std::thread::Builder::new().name("record".to_owned()).spawn_scoped(scope, write);
        let prepared = prepare(inner, diff_ids);
        let written = match writing {
            Ok(writing) => writing.join().unwrap_or_else(|_| Err(thread_died(&scratch.path))),
            Err(error) => Err(StoreError::io("start a thread for", &scratch.path, error)),
        };
        prepared.and(written)
    });
    written?;
    let alone = inner.finishing();
    if let Ok(Some(image)) = store.get(&record.digest) {
        drop(alone);
        record.references.iter().for_each(|reference| store.remember(&record.digest, reference));
        return Ok(image);
    }
    let place = inner.image_path(&record.digest);
    inner.commit(&scratch.path, &place)?;
    store.get(&record.digest)?.ok_or_else(|| StoreError::Damaged { path: place, problem: "it has vanished".to_owned() })
}

fn thread_died(path: &Path) -> StoreError {
    StoreError::io("write", path, io::Error::other("a thread died"))
}

fn prepare(inner: &Inner, diff_ids: &[Digest]) -> Result<(), StoreError> {
    if inner.are_archives(diff_ids)? {
        match rootfs::prepare(inner, diff_ids) {
            Err(StoreError::Unfit { problem }) => tracing::warn!(problem, "not to be shown by EROFS; unpacked"),
            done => return done,
        }
    }
    directories::stack(inner, diff_ids).map(drop)
}
