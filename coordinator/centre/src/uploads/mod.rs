//! Uploads: bytes on their way to becoming a blob.
//!
//! Each is a folder `uploads/ID` with `state.json` (whose it is) and `data` (what came so far). The length of `data` is the upload's
//! offset, so a killed process loses nothing but the sum over it, which the next request makes again from the file. Several requests for
//! one upload wait for each other; of the bytes of a request that breaks off, those that came stay, as the client may ask where it stands.
//! Deliberately absent: the blob that becomes of it ([`crate::Centre::finish`]).

mod partial;

use crate::clock;
use crate::config::CentreConfig;
use crate::error::CentreError;
use crate::quota::{Arriving, Quota};
use crate::storage::blocking;
use bytes::Bytes;
use coord_shared::names::{Digest, Repository};
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use partial::{Locked as _, Partial};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// How much is hashed and written at a time, in bytes: one such batch is written while the next comes.
const BATCH_BYTES: usize = 512 * 1024;
/// How long a request waits for another one of the same upload, which is usually one whose connection is gone.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Random bytes of an upload's name: nobody guesses it.
const ID_BYTES: usize = 16;
/// What an upload's folder says of it.
const STATE: &str = "state.json";
/// What came so far.
const DATA: &str = "data";

/// All uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    dir: PathBuf,
    max_bytes: u64,
    max_count: usize,
    idle_max: Duration,
    silence_max: Duration,
    quota: Quota,
    known: Mutex<BTreeMap<String, Arc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    repository: Repository,
    /// Counts what came so far.
    arriving: Mutex<Arriving>,
    partial: Arc<tokio::sync::Mutex<Partial>>,
}

/// What `state.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    repository: Repository,
    by: String,
    since: Timestamp,
}

/// One upload, to write to.
#[derive(Debug, Clone)]
pub struct Upload {
    uploads: Arc<Uploads>,
    id: String,
    slot: Arc<Slot>,
}

impl Uploads {
    pub(crate) fn open(config: &CentreConfig, quota: Quota) -> Result<Self, CentreError> {
        let dir = config.dir.join("uploads");
        fs::create_dir_all(&dir).map_err(CentreError::disk("make", &dir))?;
        let mut known = BTreeMap::new();
        for folder in fs::read_dir(&dir).map_err(CentreError::disk("list", &dir))? {
            let folder = folder.map_err(CentreError::disk("list", &dir))?.path();
            match read_slot(&folder, &quota) {
                Some((id, slot)) => drop(known.insert(id, Arc::new(slot))),
                // A crash while it was made or removed.
                None => {
                    if let Err(error) = remove_folder(&folder) {
                        tracing::warn!(folder = %folder.display(), error = %error, "what is left of an upload stays until the next start");
                    }
                }
            }
        }
        Ok(Self {
            dir,
            max_bytes: config.upload_max_bytes,
            max_count: config.uploads_max,
            idle_max: config.upload_idle_max,
            silence_max: config.silence_max,
            quota,
            known: Mutex::new(known),
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Slot>>> {
        // No code panics between two changes of the map, so what a poisoned lock guards is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more upload may begin. Manifests do not ask: they are small, and over in a moment.
    pub(crate) fn room(&self) -> Result<(), CentreError> {
        if self.known().len() >= self.max_count { Err(CentreError::TooManyUploads { max: self.max_count }) } else { Ok(()) }
    }

    /// Begins an upload. `announced`: how many bytes the client says will come, if it does.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        repository: &Repository,
        by: &str,
        announced: Option<u64>,
    ) -> Result<Upload, CentreError> {
        if announced.is_some_and(|bytes| bytes > self.max_bytes) {
            return Err(self.too_large());
        }
        self.quota.admit(announced.unwrap_or_default())?;
        let id = new_id()?;
        let dir = self.dir.join(&id);
        let state = State { repository: repository.clone(), by: by.to_owned(), since: clock::wall() };
        let made = dir.clone();
        blocking(move || make_folder(&made, &state)).await?;
        let partial = Arc::new(Partial::empty(dir.join(DATA)).into());
        let slot = Arc::new(Slot { repository: repository.clone(), arriving: self.quota.arriving(0).into(), partial });
        self.known().insert(id.clone(), Arc::clone(&slot));
        Ok(Upload { uploads: Arc::clone(self), id, slot })
    }

    /// An upload of a repository by its name, begun by this process or an earlier one.
    pub(crate) fn resume(self: &Arc<Self>, repository: &Repository, id: &str) -> Result<Upload, CentreError> {
        let slot = self.known().get(id).filter(|slot| slot.repository == *repository).cloned();
        let slot = slot.ok_or_else(|| CentreError::NoUpload(id.chars().take(2 * ID_BYTES).collect()))?;
        Ok(Upload { uploads: Arc::clone(self), id: id.to_owned(), slot })
    }

    /// Removes uploads that nobody touched for too long. How many there were.
    pub(crate) async fn expire(&self) -> Result<usize, CentreError> {
        let all: Vec<(String, Arc<Slot>)> = self.known().iter().map(|(id, slot)| (id.clone(), Arc::clone(slot))).collect();
        let mut expired = 0;
        for (id, slot) in all {
            // One that is being written is not idle.
            let Ok(partial) = Arc::clone(&slot.partial).try_lock_owned() else { continue };
            let (data, idle_max) = (partial.path().to_owned(), self.idle_max);
            if blocking(move || Ok(is_idle(&data, idle_max))).await? {
                self.forget(&id, partial).await?;
                expired += 1;
            }
        }
        Ok(expired)
    }

    /// How many there are, and how many bytes they hold.
    pub(crate) async fn weight(&self) -> Result<(usize, u64), CentreError> {
        let data: Vec<PathBuf> = self.known().keys().map(|id| self.dir.join(id).join(DATA)).collect();
        blocking(move || Ok((data.len(), data.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum())))
            .await
    }

    /// Ends an upload for good. Whoever waits for it finds it gone.
    async fn forget(&self, id: &str, mut partial: OwnedMutexGuard<Partial>) -> Result<(), CentreError> {
        partial.end();
        self.known().remove(id);
        let dir = self.dir.join(id);
        blocking(move || {
            let removed = remove_folder(&dir);
            drop(partial);
            removed
        })
        .await
    }

    fn too_large(&self) -> CentreError {
        CentreError::TooLarge { what: "the blob", max_bytes: self.max_bytes }
    }
}

impl Upload {
    /// Its name, 32 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its bytes are written.
    pub(crate) fn path(&self) -> PathBuf {
        self.uploads.dir.join(&self.id).join(DATA)
    }

    /// Whose it is.
    pub fn repository(&self) -> &Repository {
        &self.slot.repository
    }

    /// How many bytes it has.
    ///
    /// # Errors
    /// It is gone, being written, or the disk fails.
    pub async fn offset(&self) -> Result<u64, CentreError> {
        self.exclusive().await?.look().await
    }

    /// Appends some bytes of our own.
    ///
    /// # Errors
    /// As [`Upload::append`].
    pub async fn write(&self, bytes: Bytes) -> Result<u64, CentreError> {
        self.append(None, None, futures_util::stream::iter([Ok::<_, io::Error>(bytes)])).await
    }

    /// Appends a body. `starts`: where it must continue, if that was said; `announced`: its length, if that was said. The upload's new
    /// length. What came before an error stays.
    ///
    /// # Errors
    /// It does not continue where the upload stands; it is too long, or not as long as announced; the sender breaks off; the disk fails.
    pub async fn append<E: std::fmt::Display>(
        &self,
        starts: Option<u64>,
        announced: Option<u64>,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, CentreError> {
        let mut partial = self.exclusive().await?;
        let stands = partial.look().await?;
        if let Some(starts) = starts.filter(|starts| *starts != stands) {
            return Err(CentreError::OutOfOrder { stands, starts });
        }
        if announced.is_some_and(|bytes| bytes > self.uploads.max_bytes.saturating_sub(stands)) {
            return Err(self.uploads.too_large());
        }
        let is_whole = partial.is_whole().await?;
        self.uploads.quota.admit(announced.unwrap_or_default())?;
        let limit = announced.unwrap_or(u64::MAX);
        let mut came = 0;
        let mut writing = partial.start();
        let mut body = std::pin::pin!(body);
        loop {
            let batch = Batch::gather(&mut body, self.uploads.silence_max).await;
            came += batch.bytes;
            if came > 0 && is_whole {
                return Err(CentreError::Whole(self.id.clone()));
            }
            if came > limit {
                writing.settle().await?;
                return Err(CentreError::WrongLength { announced: limit, found: came });
            }
            if came > self.uploads.max_bytes.saturating_sub(stands) {
                writing.settle().await?;
                return Err(self.uploads.too_large());
            }
            let has_room = self.slot.arriving.lock().unwrap_or_else(PoisonError::into_inner).grow(batch.bytes);
            if let Err(full) = has_room {
                writing.settle().await?;
                return Err(full.into());
            }
            writing = writing.settle().await?.write(batch.pieces);
            match batch.end {
                None => {}
                Some(Err(error)) => {
                    writing.settle().await?;
                    return Err(error);
                }
                Some(Ok(())) => break,
            }
        }
        let stands = writing.settle().await?.stands();
        match announced {
            Some(announced) if announced != came => Err(CentreError::WrongLength { announced, found: came }),
            Some(_) | None => Ok(stands),
        }
    }

    /// Takes it for finishing: its file, size and digest. Nobody else can write to it meanwhile.
    pub(crate) async fn seal(&self) -> Result<Sealed, CentreError> {
        let mut partial = self.exclusive().await?;
        let bytes = partial.look().await?;
        let (digest, path) = (partial.sum(), partial.path().to_owned());
        Ok(Sealed { upload: self.clone(), partial, digest, bytes, path })
    }

    /// Gives it up.
    ///
    /// # Errors
    /// It is gone already, being written, or the disk fails.
    pub async fn cancel(self) -> Result<(), CentreError> {
        let partial = self.exclusive().await?;
        self.uploads.forget(&self.id, partial).await
    }

    async fn exclusive(&self) -> Result<OwnedMutexGuard<Partial>, CentreError> {
        let lock = tokio::time::timeout(BUSY_MAX, Arc::clone(&self.slot.partial).lock_owned()).await;
        let partial = lock.map_err(|_| CentreError::Busy(self.id.clone()))?;
        if partial.is_ended() { Err(CentreError::NoUpload(self.id.clone())) } else { Ok(partial) }
    }
}

/// An upload that is about to become a blob.
pub(crate) struct Sealed {
    upload: Upload,
    partial: OwnedMutexGuard<Partial>,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) path: PathBuf,
}

impl Sealed {
    /// Removes what is left of it.
    pub(crate) async fn end(self) -> Result<(), CentreError> {
        self.upload.uploads.forget(&self.upload.id, self.partial).await
    }
}

/// Some bytes of a body, and whether that was all.
struct Batch {
    pieces: Vec<Bytes>,
    bytes: u64,
    end: Option<Result<(), CentreError>>,
}

impl Batch {
    /// Takes from `body` until there is enough to write, or no more.
    async fn gather<E: std::fmt::Display>(
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        silence_max: Duration,
    ) -> Self {
        let mut batch = Self { pieces: Vec::new(), bytes: 0, end: None };
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.end.is_none() {
            match tokio::time::timeout(silence_max, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    bytes += piece.len();
                    batch.pieces.push(piece);
                }
                Ok(Some(Err(error))) => batch.end = Some(Err(CentreError::Interrupted(error.to_string()))),
                Ok(None) => batch.end = Some(Ok(())),
                Err(_) => batch.end = Some(Err(CentreError::Interrupted("it was silent for too long".to_owned()))),
            }
        }
        batch.bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        batch
    }
}

fn new_id() -> Result<String, CentreError> {
    use std::fmt::Write as _;
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| CentreError::Settings(format!("the system has no random numbers: {error}")))?;
    Ok(bytes.iter().fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}

/// The state is written last, so a folder without one is of no use to anybody.
fn make_folder(dir: &Path, state: &State) -> Result<(), CentreError> {
    fs::create_dir(dir).map_err(CentreError::disk("make", dir))?;
    let data = dir.join(DATA);
    fs::File::create_new(&data).map_err(CentreError::disk("make", &data))?;
    let text = serde_json::to_vec(state).map_err(|source| CentreError::Record { key: String::new(), source })?;
    let (path, new) = (dir.join(STATE), dir.join("state.new"));
    fs::write(&new, text).map_err(CentreError::disk("write", &new))?;
    fs::rename(&new, &path).map_err(CentreError::disk("place", &path))
}

fn remove_folder(dir: &Path) -> Result<(), CentreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CentreError::disk("remove", dir)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_slot(dir: &Path, quota: &Quota) -> Option<(String, Slot)> {
    let id = dir.file_name()?.to_str()?.to_owned();
    let state: State = serde_json::from_slice(&fs::read(dir.join(STATE)).ok()?).ok()?;
    let data = dir.join(DATA);
    let present = fs::metadata(&data).ok().filter(fs::Metadata::is_file)?.len();
    let partial = Arc::new(Partial::unknown(data).into());
    Some((id, Slot { repository: state.repository, arriving: quota.arriving(present).into(), partial }))
}

/// Unless its clock lies in the future, which is no reason to remove anything.
fn is_idle(data: &Path, idle_max: Duration) -> bool {
    let touched = fs::metadata(data).and_then(|meta| meta.modified()).ok();
    touched.and_then(clock::age).is_some_and(|age| age > idle_max)
}
