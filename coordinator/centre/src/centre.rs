//! The centre as its callers hold it: records, bytes and uploads together.

use crate::config::CentreConfig;
use crate::error::CentreError;
use crate::locks::Locks;
use crate::quota::Quota;
use crate::records::{self, RepositoryRecord, Seen};
use crate::storage::{Storage, Stored};
use crate::uploads::{Upload, Uploads};
use coord_shared::names::Repository;
use coord_store::{Committed, SharedStore, Txn};
use std::sync::Arc;
use std::time::Duration;

/// How often a change is tried when others change the same records: a popular base layer is touched by every push of an image on it.
const ATTEMPTS_MAX: u32 = 64;
/// Longest pause between two attempts, in milliseconds.
const PAUSE_MAX_MS: u64 = 20;

/// The image centre. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Centre {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: SharedStore,
    pub(crate) storage: Storage,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) locks: Locks,
    pub(crate) quota: Quota,
    pub(crate) silence_max: Duration,
}

/// What one attempt of a change found.
pub(crate) enum Attempt<T> {
    /// Write this; if nobody was faster, that is the answer.
    Write(Txn, T),
    /// There is nothing to write.
    Done(T),
}

impl Centre {
    /// Opens the centre: makes its folders, finds the uploads of an earlier process.
    ///
    /// # Errors
    /// The folder cannot be used, or the settings of the object store make no sense.
    pub fn open(config: &CentreConfig, store: SharedStore) -> Result<Self, CentreError> {
        std::fs::create_dir_all(&config.dir).map_err(CentreError::disk("make", &config.dir))?;
        let storage = Storage::open(config)?;
        Self::over(config, store, storage)
    }

    /// A centre whose blobs lie in any object store, for tests.
    ///
    /// # Errors
    /// The folder for uploads cannot be used.
    pub fn over_objects(
        config: &CentreConfig,
        store: SharedStore,
        objects: Arc<dyn object_store::ObjectStore>,
    ) -> Result<Self, CentreError> {
        Self::over(config, store, Storage::Objects(crate::storage::Objects::over(objects, "")))
    }

    fn over(config: &CentreConfig, store: SharedStore, storage: Storage) -> Result<Self, CentreError> {
        let quota = Quota::new(config.quota, &config.dir);
        let uploads = Arc::new(Uploads::open(config, quota.clone())?);
        let inner = Inner { store, storage, uploads, locks: Locks::default(), quota, silence_max: config.silence_max };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Counts what is stored already; to be called once, before anybody pushes.
    ///
    /// # Errors
    /// The store fails.
    pub async fn count_stored(&self) -> Result<u64, CentreError> {
        let blobs = records::load_all::<records::BlobRecord>(&*self.inner.store, records::BLOB).await?;
        self.inner.quota.added(blobs.iter().map(|(_, blob)| blob.record.bytes).sum());
        Ok(self.inner.quota.stored())
    }

    /// What is stored, and what may be.
    pub fn quota(&self) -> &Quota {
        &self.inner.quota
    }

    /// The records.
    pub fn store(&self) -> &SharedStore {
        &self.inner.store
    }

    /// Begins an upload to a repository. `by`: who does it. `announced`: how many bytes will come, if that is known.
    ///
    /// # Errors
    /// Too many uploads, more announced than is taken, or the disk fails.
    pub async fn upload(&self, repository: &Repository, by: &str, announced: Option<u64>) -> Result<Upload, CentreError> {
        self.inner.uploads.room()?;
        self.inner.uploads.begin(repository, by, announced).await
    }

    /// An upload of this repository that was begun before.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn resume(&self, repository: &Repository, id: &str) -> Result<Upload, CentreError> {
        self.inner.uploads.resume(repository, id)
    }

    /// Removes uploads that nobody touched for too long; to be called every hour or so. How many there were.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn expire_uploads(&self) -> Result<usize, CentreError> {
        self.inner.uploads.expire().await
    }

    /// How many unfinished uploads there are, and how many bytes they hold.
    ///
    /// # Errors
    /// The process is about to end.
    pub async fn uploads_weight(&self) -> Result<(usize, u64), CentreError> {
        self.inner.uploads.weight().await
    }

    /// All bytes that the storage has, whether a record knows them or not: for sweeping orphans.
    ///
    /// # Errors
    /// The storage cannot be listed.
    pub async fn stored(&self) -> Result<Vec<Stored>, CentreError> {
        self.inner.storage.list().await
    }

    /// Tries a change until nobody else is faster.
    pub(crate) async fn change<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, CentreError>
    where
        F: Future<Output = Result<Attempt<T>, CentreError>>,
    {
        for _ in 0..ATTEMPTS_MAX {
            match attempt().await? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Write(txn, answer) => {
                    if let Committed::Yes(_) = self.inner.store.txn(txn).await? {
                        return Ok(answer);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=PAUSE_MAX_MS))).await;
        }
        Err(CentreError::Contended)
    }

    /// Adds to a transaction that a repository exists.
    pub(crate) async fn with_repository(&self, txn: Txn, name: &Repository) -> Result<Txn, CentreError> {
        let key = records::repository_key(name);
        let seen: Option<Seen<RepositoryRecord>> = records::load(&*self.inner.store, &key).await?;
        Ok(match seen {
            Some(_) => txn,
            None => {
                let record = records::encode(&RepositoryRecord { since: crate::clock::wall() })?;
                txn.expect(&key, None).put(key, record)
            }
        })
    }
}
