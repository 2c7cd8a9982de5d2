//! Brings a run's log and archive to the coordinator, piece by piece, from wherever that has come to.

use super::door::{Door, DoorError, Piece};
use coord_shared::decide::backoff;
use coord_shared::names::RunId;
use coord_shared::wire::ArchiveReport;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::sync::Mutex;

/// Of an archive, in one request: in memory for as long as that takes.
const PIECE_MAX_BYTES: u64 = 4 << 20;
/// Of a log.
const LOG_PIECE_MAX_BYTES: u64 = 1 << 20;
/// A coordinator that wants another byte each time has lost its mind.
const OFFSETS_MAX: u32 = 100;

/// A log on its way. What was sent is not sent again.
#[derive(Clone)]
pub(super) struct LogSender {
    door: Door,
    run: RunId,
    path: PathBuf,
    /// What the coordinator has; held by whoever sends.
    sent_bytes: Rc<Mutex<u64>>,
}

impl LogSender {
    pub(super) fn new(door: Door, run: RunId, path: &Path) -> Self {
        Self { door, run, path: path.to_owned(), sent_bytes: Rc::default() }
    }

    /// Sends what is there now, unless somebody does; once, as it is no harm if it comes later.
    pub(super) async fn try_send(self) {
        let Ok(mut sent_bytes) = self.sent_bytes.try_lock() else { return };
        if let Err(error) = self.send_rest(&mut sent_bytes).await {
            tracing::debug!(run = %self.run, %error, "the log of a run is not sent yet");
        }
    }

    /// Sends all of it, however long the coordinator is away. Gives up only when that refuses it.
    pub(super) async fn send(&self) {
        let mut sent_bytes = self.sent_bytes.lock().await;
        let mut failures = 0;
        loop {
            match self.send_rest(&mut sent_bytes).await {
                Ok(()) => return,
                Err(DoorError::Away { problem }) => {
                    failures += 1;
                    tracing::debug!(run = %self.run, problem, "the log of a run is not sent yet");
                    tokio::time::sleep(backoff::POLL.delay_with_jitter(failures, fastrand::f64())).await;
                }
                Err(error) => {
                    tracing::warn!(run = %self.run, %error, "the log of a run is not kept");
                    return;
                }
            }
        }
    }

    async fn send_rest(&self, sent_bytes: &mut u64) -> Result<(), DoorError> {
        let mut offsets = 0;
        loop {
            let piece = read_at(&self.path, *sent_bytes, LOG_PIECE_MAX_BYTES).await.map_err(|e| unreadable(&self.path, &e))?;
            // A line on its way is sent when it is whole.
            let whole = piece.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            if whole == 0 {
                return Ok(());
            }
            match self.door.log(&self.run, *sent_bytes, piece[..whole].to_vec()).await {
                Ok(()) => *sent_bytes += whole as u64,
                Err(DoorError::WrongOffset { offset }) if offsets < OFFSETS_MAX => (*sent_bytes, offsets) = (offset, offsets + 1),
                Err(DoorError::WrongOffset { offset }) => return Err(lost(offset)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Sends an archive, however long the coordinator is away; `waits` is told, in words, while it is.
///
/// # Errors
/// In words: it was refused, or cannot be read.
pub(super) async fn archive(
    door: &Door,
    run: &RunId,
    path: &Path,
    archive: &ArchiveReport,
    mut waits: impl FnMut(Option<String>),
) -> Result<(), String> {
    let (mut offset, mut failures, mut offsets) = (0, 0, 0);
    loop {
        let bytes = read_at(path, offset, PIECE_MAX_BYTES.min(archive.bytes.saturating_sub(offset))).await;
        let bytes = bytes.map_err(|error| unreadable(path, &error).to_string())?;
        let next = offset + bytes.len() as u64;
        let piece = Piece { offset, bytes, total_bytes: archive.bytes, digest: archive.digest.clone() };
        match door.archive(run, piece).await {
            Ok(()) => {
                failures = 0;
                waits(None);
                if next >= archive.bytes {
                    return Ok(());
                }
                offset = next;
            }
            Err(DoorError::WrongOffset { offset: there }) if offsets < OFFSETS_MAX => {
                offsets += 1;
                // It has all of it: the last piece, which is empty then, asks for its judgement.
                offset = there.min(archive.bytes);
            }
            Err(DoorError::Away { problem }) => {
                failures += 1;
                waits(Some(problem));
                tokio::time::sleep(backoff::POLL.delay_with_jitter(failures, fastrand::f64())).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// At most so many bytes from there on.
async fn read_at(path: &Path, offset: u64, max_bytes: u64) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let file = File::open(&path)?;
        let there = file.metadata()?.len().saturating_sub(offset).min(max_bytes);
        let mut bytes = vec![0; usize::try_from(there).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    });
    read.await.map_err(io::Error::other)?
}

fn unreadable(path: &Path, error: &io::Error) -> DoorError {
    DoorError::Refused { problem: format!("{} cannot be read: {error}", path.display()) }
}

fn lost(offset: u64) -> DoorError {
    DoorError::Refused { problem: format!("it asks for byte {offset} again and again") }
}
