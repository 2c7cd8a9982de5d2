//! The layer: made of the archive in a blocking thread, into a file without a name, and from there put into the image centre.

use super::{AssembleError, Assembly};
use bytes::Bytes;
use coord_archive::{Below, Checked, Layer};
use coord_centre::{Centre, Upload};
use coord_shared::names::{Digest, Repository};
use coord_tar::Limits;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are read and sent on at a time.
const COPY_BYTES: usize = 512 * 1024;

/// A layer, and the archive that it was made of.
pub(super) struct MadeLayer {
    pub(super) layer: Layer,
    /// Digest of the archive.
    pub(super) archive: Digest,
    pub(super) archive_bytes: u64,
}

/// Makes the layer. Its bytes are in the file, which is at its beginning.
pub(super) async fn make(assembly: &Assembly, below: Arc<Below>, work_dir: &Path) -> Result<(MadeLayer, File), AssembleError> {
    let (archive, recipe, at) = (assembly.archive.clone(), assembly.recipe.clone(), assembly.at);
    let work_dir = work_dir.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let mut archive = File::open(&archive).map_err(disk("open the archive"))?;
        let (digest, archive_bytes) = digest_of(&mut archive)?;
        let of_archive = |source| AssembleError::Archive { source };
        let checked = Checked::read(archive, &work_dir, &Limits::default()).map_err(of_archive)?;
        let out = tempfile::tempfile_in(&work_dir).map_err(disk("make a temporary file"))?;
        let mut out = BufWriter::with_capacity(COPY_BYTES, out);
        let layer = checked.write_layer(&recipe, at, &below, &mut out).map_err(of_archive)?;
        out.flush().map_err(disk("write the layer"))?;
        let mut file = out.into_inner().map_err(|error| disk("write the layer")(error.into_error()))?;
        file.rewind().map_err(disk("read the layer"))?;
        Ok((MadeLayer { layer, archive: digest, archive_bytes }, file))
    });
    work.await.map_err(|_| AssembleError::Ending)?
}

/// Puts the layer's bytes into a repository, unless it has them.
pub(super) async fn upload(
    centre: &Centre,
    repository: &Repository,
    by: &str,
    layer: &Layer,
    file: File,
) -> Result<(), AssembleError> {
    if centre.has_blob(repository, &layer.digest).await?.is_some() {
        return Ok(());
    }
    let upload = centre.upload(repository, by, Some(layer.bytes)).await?;
    if let Err(error) = send(&upload, file).await {
        // Its own failure would say less, and an idle upload is removed one day.
        let _ = upload.cancel().await;
        return Err(error);
    }
    centre.finish(&upload, &layer.digest).await?;
    Ok(())
}

/// The whole file, piece by piece.
async fn send(upload: &Upload, mut file: File) -> Result<(), AssembleError> {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; COPY_BYTES];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok((file, piece))
        });
        let (back, piece) = read.await.map_err(|_| AssembleError::Ending)?.map_err(disk("read the layer"))?;
        if piece.is_empty() {
            return Ok(());
        }
        file = back;
        upload.write(Bytes::from(piece)).await?;
    }
}

/// Puts a small blob into a repository, unless it has it.
pub(super) async fn put(centre: &Centre, repository: &Repository, by: &str, bytes: &[u8]) -> Result<(), AssembleError> {
    let digest = Digest::of(bytes);
    if centre.has_blob(repository, &digest).await?.is_some() {
        return Ok(());
    }
    let upload = centre.upload(repository, by, Some(bytes.len() as u64)).await?;
    upload.write(Bytes::copy_from_slice(bytes)).await?;
    centre.finish(&upload, &digest).await?;
    Ok(())
}

fn digest_of(file: &mut File) -> Result<(Digest, u64), AssembleError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut bytes = 0;
    loop {
        let length = file.read(&mut buffer).map_err(disk("read the archive"))?;
        if length == 0 {
            return Ok((Digest::from_sha256(hash.finalize().into()), bytes));
        }
        hash.update(&buffer[..length]);
        bytes += length as u64;
    }
}

fn disk(operation: &'static str) -> impl FnOnce(io::Error) -> AssembleError {
    move |source| AssembleError::Disk { operation, source }
}
