//! Uploads: a run's archive and log, as its builder sends them, in pieces that can be sent again.
//!
//! ```text
//!   PUT archive, bytes A-B/TOTAL ─▶ archive.part-N   A is not what is here: refused with what is
//!   the last piece, with a digest ─▶ hash, fsync, rename ─▶ archive ─▶ the run's record
//!   POST log from byte A ─▶ log-N.jsonl             beyond the limit it is counted, not kept
//! ```
//!
//! Only one request writes to a run at a time; a newer one ends the older, whose connection died as a rule. What was written stays when a
//! request breaks off: the next one asks how far it was.

use super::files::{RunFiles, sync_folder};
use super::logs::Dropped;
use super::records::{RunRecord, run_key};
use crate::records::{RecordError, encode, load};
use bytes::Bytes;
use coord_shared::names::{Digest, HostName, RunId};
use coord_shared::wire::{ArchiveReport, RunState};
use coord_store::{Committed, SharedStore, StoreError, Txn};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Largest log of one run that is kept, in bytes; the rest is counted.
pub(super) const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How long nothing may come before a request counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts at a compare-and-set of the run's record.
const TXN_ATTEMPTS_MAX: u32 = 10;
/// Read at a time while an archive is hashed, in bytes.
const HASH_PIECE_BYTES: usize = 256 * 1024;

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The run is not built by this host, or not any more.
    #[error("run {0} is not this host's to build")]
    NotYours(RunId),
    /// The piece does not follow what is here.
    #[error("the piece of run {run} starts at byte {given}, and {offset} bytes are here")]
    WrongOffset {
        /// Which.
        run: RunId,
        /// Where it starts.
        given: u64,
        /// What is here.
        offset: u64,
    },
    /// It would be larger than what is taken.
    #[error("the archive of run {run} has {bytes} bytes, more than the limit of {max}")]
    TooLarge {
        /// Which.
        run: RunId,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// What arrived is not what was announced.
    #[error("the archive of run {run} has digest {found}, and another was announced; it is dropped")]
    WrongDigest {
        /// Which.
        run: RunId,
        /// As it is.
        found: Digest,
    },
    /// The request does not say what it should.
    #[error("{0}")]
    Malformed(String),
    /// The connection broke off, or another request took over.
    #[error("the upload of run {run} broke off: {why}")]
    Broken {
        /// Which.
        run: RunId,
        /// Why.
        why: String,
    },
    /// There is no room.
    #[error("no space is left for run {run} in the coordinator's data folder; free some, or lower `keep_runs`")]
    NoSpace {
        /// Which.
        run: RunId,
    },
    /// A file could not be worked with.
    #[error("cannot keep what run {run} sends")]
    Io {
        /// Which.
        run: RunId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// In bytes, of the archive or of the log.
    pub offset: u64,
    /// The archive, where that was the last piece of it.
    pub archive: Option<ArchiveReport>,
}

/// One piece of an archive, as its request announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts; absent where only the question is how much is here.
    pub start: Option<u64>,
    /// How large the whole is.
    pub total: u64,
    /// Of the whole; with the last piece.
    pub digest: Option<Digest>,
}

/// Where pieces come from.
pub trait Pieces: Send {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, String>>> + Send;
}

/// Receives archives and logs.
pub struct Uploads {
    store: SharedStore,
    files: RunFiles,
    archive_max_bytes: u64,
    turns: Mutex<BTreeMap<(RunId, What), Arc<Turns>>>,
}

impl Uploads {
    /// Over `store`; archives are at most so large.
    pub fn new(store: SharedStore, files: RunFiles, archive_max_bytes: u64) -> Self {
        Self { store, files, archive_max_bytes, turns: Mutex::default() }
    }

    /// Takes one piece of an archive.
    pub async fn archive(
        &self,
        host: &HostName,
        run: &RunId,
        piece: Piece,
        body: &mut impl Pieces,
    ) -> Result<Received, UploadError> {
        self.record(host, run).await?;
        if piece.total > self.archive_max_bytes {
            return Err(UploadError::TooLarge { run: run.clone(), bytes: piece.total, max: self.archive_max_bytes });
        }
        let mut turn = self.turn(run, What::Archive);
        let turns = Arc::clone(&turn.turns);
        let _writing = turns.writing.lock().await;
        // Looked at now: the request before this one may have sent all of it.
        let record = self.record(host, run).await?;
        if let Some(archive) = &record.archive {
            // Whole, checked and recorded: whatever is sent again is here.
            return Ok(Received { offset: archive.bytes, archive: Some(archive.clone()) });
        }
        if record.state != RunState::Building {
            return Err(UploadError::NotYours(run.clone()));
        }
        let (file, offset) = self.open(run, record.attempt, piece.total).map_err(|source| failed(run, source))?;
        let asks = piece.start.is_none() && offset != piece.total;
        if asks || piece.start.is_some_and(|start| start != offset) {
            let given = piece.start.unwrap_or_default();
            return Err(UploadError::WrongOffset { run: run.clone(), given, offset });
        }
        let offset = write(run, body, &mut turn, &file, offset, piece.total).await?;
        let Some(expected) = piece.digest.filter(|_| offset == piece.total) else {
            return Ok(Received { offset, archive: None });
        };
        let archive = self.finish(run, record.attempt, file, expected).await?;
        self.note(host, run, &archive).await?;
        tracing::info!(run = %run, host = %host, bytes = archive.bytes, digest = archive.digest.short(), "archive received");
        Ok(Received { offset, archive: Some(archive) })
    }

    /// What is here of an archive, and how much of it.
    fn open(&self, run: &RunId, attempt: u32, total: u64) -> io::Result<(Arc<File>, u64)> {
        let (whole, part) = (self.files.archive(run), self.files.part(run, attempt));
        self.files.make(run)?;
        // Renamed, and not recorded before the process ended: it is looked at anew.
        if whole.exists() {
            fs::rename(&whole, &part)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&part)?;
        let mut offset = file.metadata()?.len();
        if offset > total {
            // Of something else: a builder that packed anew begins anew.
            file.set_len(0)?;
            offset = 0;
        }
        Ok((Arc::new(file), offset))
    }

    /// Checks a whole archive and gives it its name.
    async fn finish(&self, run: &RunId, attempt: u32, file: Arc<File>, expected: Digest) -> Result<ArchiveReport, UploadError> {
        let (whole, part) = (self.files.archive(run), self.files.part(run, attempt));
        let folder = self.files.folder(run);
        let finished = tokio::task::spawn_blocking(move || -> io::Result<Result<ArchiveReport, Digest>> {
            let (digest, bytes) = hash(&part)?;
            if digest != expected {
                fs::remove_file(&part)?;
                return Ok(Err(digest));
            }
            file.sync_all()?;
            fs::rename(&part, &whole)?;
            sync_folder(&folder)?;
            Ok(Ok(ArchiveReport { digest, bytes }))
        });
        let fail = |source| failed(run, source);
        match finished.await.map_err(io::Error::other).map_err(fail)?.map_err(fail)? {
            Ok(archive) => Ok(archive),
            Err(found) => Err(UploadError::WrongDigest { run: run.clone(), found }),
        }
    }

    /// Notes in the run's record that its archive is here.
    async fn note(&self, host: &HostName, run: &RunId, archive: &ArchiveReport) -> Result<(), UploadError> {
        let key = run_key(run);
        for _ in 0..TXN_ATTEMPTS_MAX {
            let Some((record, revision)) = load::<RunRecord>(&*self.store, &key).await? else { break };
            if record.state != RunState::Building || record.builder.as_ref() != Some(host) {
                break;
            }
            let record = RunRecord { archive: Some(archive.clone()), ..record };
            let txn = Txn::default().expect(&*key, Some(revision)).put(&*key, encode(&record));
            if let Committed::Yes(_) = self.store.txn(txn).await? {
                return Ok(());
            }
        }
        Err(UploadError::NotYours(run.clone()))
    }

    /// Takes lines of a log that begin at byte `start` of what the builder has. Beyond the limit they are counted.
    pub async fn log(&self, host: &HostName, run: &RunId, start: u64, lines: Bytes) -> Result<Received, UploadError> {
        // Also of a run that is over: its builder's last words come late.
        let record = self.record(host, run).await?;
        let turn = self.turn(run, What::Log);
        let _writing = turn.turns.writing.lock().await;
        let (log, dropped) = (self.files.log(run, record.attempt), self.files.dropped(run, record.attempt));
        let files = self.files.clone();
        let id = run.clone();
        let appended = tokio::task::spawn_blocking(move || -> io::Result<Result<u64, u64>> {
            files.make(&id)?;
            let mut gap = Dropped::read(&dropped)?;
            let mut file = OpenOptions::new().create(true).append(true).open(&log)?;
            let kept = file.metadata()?.len();
            let offset = kept + gap.bytes;
            if offset != start {
                return Ok(Err(offset));
            }
            let room = if gap.bytes > 0 { 0 } else { LOG_MAX_BYTES.saturating_sub(kept) };
            let fits = &lines[..fitting(&lines, room)];
            file.write_all(fits)?;
            let rest = &lines[fits.len()..];
            if !rest.is_empty() {
                gap.add(rest);
                gap.write(&dropped)?;
            }
            Ok(Ok(offset + lines.len() as u64))
        });
        let fail = |source| failed(run, source);
        match appended.await.map_err(io::Error::other).map_err(fail)?.map_err(fail)? {
            Ok(offset) => Ok(Received { offset, archive: None }),
            Err(offset) => Err(UploadError::WrongOffset { run: run.clone(), given: start, offset }),
        }
    }

    /// The run, if this host builds it or was the last to do so.
    async fn record(&self, host: &HostName, run: &RunId) -> Result<RunRecord, UploadError> {
        let found = load::<RunRecord>(&*self.store, &run_key(run)).await?.map(|(record, _)| record);
        found.filter(|record| record.builder.as_ref() == Some(host)).ok_or_else(|| UploadError::NotYours(run.clone()))
    }

    fn turn(&self, run: &RunId, what: What) -> Turn<'_> {
        let key = (run.clone(), what);
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = Arc::clone(
            all.entry(key.clone())
                .or_insert_with(|| Arc::new(Turns { newest: watch::Sender::new(0), writing: tokio::sync::Mutex::default() })),
        );
        turns.newest.send_modify(|newest| *newest += 1);
        let newest = turns.newest.subscribe();
        Turn { uploads: self, key, turns, newest }
    }
}

/// What is being written: each has its own writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Archive,
    Log,
}

/// Who writes to a run.
struct Turns {
    /// The number of the newest request; older ones give way.
    newest: watch::Sender<u64>,
    /// Held by the one that writes.
    writing: tokio::sync::Mutex<()>,
}

/// One request's place among those of its run.
struct Turn<'a> {
    uploads: &'a Uploads,
    key: (RunId, What),
    turns: Arc<Turns>,
    newest: watch::Receiver<u64>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.uploads.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own, and this one's.
        if Arc::strong_count(&self.turns) <= 2 {
            all.remove(&self.key);
        }
    }
}

/// Appends what comes, up to `total` bytes in all. Answers how much there is now.
async fn write(
    run: &RunId,
    body: &mut impl Pieces,
    turn: &mut Turn<'_>,
    file: &Arc<File>,
    mut offset: u64,
    total: u64,
) -> Result<u64, UploadError> {
    let broken = |why: String| UploadError::Broken { run: run.clone(), why };
    loop {
        let piece = tokio::select! {
            piece = tokio::time::timeout(IDLE_TIMEOUT, body.next()) => piece,
            _ = turn.newest.changed() => return Err(broken("another request took its place".to_owned())),
        };
        let piece = match piece {
            Ok(Some(piece)) => piece.map_err(broken)?,
            Ok(None) => return Ok(offset),
            Err(_) => return Err(broken(format!("nothing came for {} s", IDLE_TIMEOUT.as_secs()))),
        };
        let after = offset + piece.len() as u64;
        if after > total {
            return Err(UploadError::Malformed(format!("run {run}: more bytes came than the {total} that were announced")));
        }
        let file = Arc::clone(file);
        let written = tokio::task::spawn_blocking(move || (&*file).write_all(&piece)).await;
        written.map_err(io::Error::other).flatten().map_err(|source| failed(run, source))?;
        offset = after;
    }
}

/// How much of `lines` fits into `room` bytes without cutting a line.
fn fitting(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1)
}

fn hash(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; HASH_PIECE_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let digest = Digest::from_sha256(hasher.finalize().into());
            return Ok((digest, bytes));
        }
        hasher.update(&piece[..read]);
        bytes += read as u64;
    }
}

fn failed(run: &RunId, source: io::Error) -> UploadError {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return UploadError::NoSpace { run: run.clone() };
    }
    UploadError::Io { run: run.clone(), source }
}
