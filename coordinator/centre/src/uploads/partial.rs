//! What came of an upload so far: a file, its length, and the running sum over it.
//!
//! Writing happens on blocking threads that hold the upload's lock themselves, so that a request whose client goes away cannot leave a
//! write behind that nobody waits for.

use crate::error::CentreError;
use crate::storage::blocking;
use bytes::Bytes;
use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;

/// How much is read at a time when a sum is made again, in bytes.
const REREAD_BYTES: usize = 1024 * 1024;
/// Most pieces that one system call writes (IOV_MAX).
const PIECES_MAX: usize = 1024;

/// A file in the making.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    sum: Sum,
}

#[derive(Debug, Clone)]
enum Sum {
    /// The file must be read: another process began it, or a write failed.
    Unknown,
    /// As far as the file goes.
    Known { bytes: u64, hasher: Sha256 },
    /// The upload is over, and the file is gone.
    Ended,
}

impl Partial {
    pub(super) fn empty(path: PathBuf) -> Self {
        Self { path, sum: Sum::Known { bytes: 0, hasher: Sha256::new() } }
    }

    pub(super) fn unknown(path: PathBuf) -> Self {
        Self { path, sum: Sum::Unknown }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn end(&mut self) {
        self.sum = Sum::Ended;
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.sum, Sum::Ended)
    }

    fn stands(&self) -> u64 {
        match self.sum {
            Sum::Known { bytes, .. } => bytes,
            Sum::Unknown | Sum::Ended => 0,
        }
    }

    /// The digest of what came so far.
    pub(super) fn sum(&self) -> Digest {
        match &self.sum {
            Sum::Known { hasher, .. } => Digest::from_sha256(hasher.clone().finalize().into()),
            Sum::Unknown | Sum::Ended => Digest::of(b""),
        }
    }

    fn reread(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        let (mut bytes, mut hasher, mut buffer) = (0, Sha256::new(), vec![0; REREAD_BYTES]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            bytes += u64::try_from(read).unwrap_or_default();
        }
        self.sum = Sum::Known { bytes, hasher };
        Ok(())
    }

    fn write(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let Sum::Known { mut bytes, mut hasher } = std::mem::replace(&mut self.sum, Sum::Unknown) else {
            return Err(io::Error::other("where it stands is not known"));
        };
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        for group in pieces.chunks(PIECES_MAX) {
            write_all(&mut file, group)?;
        }
        for piece in pieces {
            hasher.update(piece);
            bytes += u64::try_from(piece.len()).unwrap_or_default();
        }
        self.sum = Sum::Known { bytes, hasher };
        Ok(())
    }
}

fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a lock's holder does with the file.
pub(super) trait Locked: Sized {
    /// How many bytes there are, after reading them again where that is not known.
    async fn look(&mut self) -> Result<u64, CentreError>;
    /// Whether the file has a second name: it is a blob already, whose record a crash or an error has held up.
    async fn is_whole(&self) -> Result<bool, CentreError>;
    /// Begins to write.
    fn start(self) -> Writing;
}

impl Locked for OwnedMutexGuard<Partial> {
    async fn look(&mut self) -> Result<u64, CentreError> {
        if matches!(self.sum, Sum::Unknown) {
            let mut again = Partial::unknown(self.path.clone());
            let again = blocking(move || {
                again.reread().map_err(CentreError::disk("read", &again.path))?;
                Ok(again)
            });
            self.sum = again.await?.sum;
        }
        Ok(self.stands())
    }

    async fn is_whole(&self) -> Result<bool, CentreError> {
        let path = self.path.clone();
        blocking(move || Ok(path.metadata().map_err(CentreError::disk("look at", &path))?.nlink() > 1)).await
    }

    fn start(self) -> Writing {
        Writing::Rests(self)
    }
}

/// A file that rests, or is being written.
pub(super) enum Writing {
    /// Nothing to wait for.
    Rests(OwnedMutexGuard<Partial>),
    /// A thread is at it.
    Runs(JoinHandle<Result<OwnedMutexGuard<Partial>, CentreError>>),
}

/// A file that rests, with everything written.
pub(super) struct Settled(OwnedMutexGuard<Partial>);

impl Writing {
    /// Waits until everything is written.
    pub(super) async fn settle(self) -> Result<Settled, CentreError> {
        match self {
            Self::Rests(partial) => Ok(Settled(partial)),
            Self::Runs(task) => task.await.unwrap_or(Err(CentreError::Ending)).map(Settled),
        }
    }
}

impl Settled {
    /// Begins to write these pieces, and does not wait.
    pub(super) fn write(self, pieces: Vec<Bytes>) -> Writing {
        let mut partial = self.0;
        if pieces.is_empty() {
            return Writing::Rests(partial);
        }
        Writing::Runs(tokio::task::spawn_blocking(move || match partial.write(&pieces) {
            Ok(()) => Ok(partial),
            Err(error) => Err(CentreError::disk("write", &partial.path)(error)),
        }))
    }

    /// How many bytes there are.
    pub(super) fn stands(&self) -> u64 {
        self.0.stands()
    }
}
