//! The last steps of a pull: the image's layers as one root file system, and its record.

use crate::error::StoreError;
use crate::record::ImageRecord;
use crate::store::{Inner, Scratch};
use crate::{Image, ImageStore, directories, rootfs};
use coord_shared::names::Digest;

/// Makes what belongs to the layers together, so that a start finds it; then writes the image's record, which makes it an image.
pub(super) fn finish(store: &ImageStore, record: &ImageRecord, diff_ids: &[Digest]) -> Result<Image, StoreError> {
    let inner = &store.inner;
    prepare(inner, diff_ids)?;
    let alone = inner.finishing();
    if let Ok(Some(image)) = store.get(&record.digest) {
        drop(alone);
        record.references.iter().for_each(|reference| store.remember(&record.digest, reference));
        return Ok(image);
    }
    let scratch = Scratch { path: inner.tmp_path() };
    record.save(&scratch.path)?;
    let place = inner.image_path(&record.digest);
    inner.commit(&scratch.path, &place)?;
    store.get(&record.digest)?.ok_or_else(|| StoreError::Damaged { path: place, problem: "it has vanished".to_owned() })
}

fn prepare(inner: &Inner, diff_ids: &[Digest]) -> Result<(), StoreError> {
    if inner.are_archives(diff_ids)? { rootfs::prepare(inner, diff_ids) } else { directories::stack(inner, diff_ids).map(drop) }
}
