//! One layer, from compressed bytes to what the store keeps of it, while they arrive.
//!
//! ```text
//!   fetch (async) --Feed--> inflate (thread): sha256, inflate
//!                               | ^
//!                       buffers v | spent
//!                           index (thread): sha256 (diff id), LayerTree, contents of files that are wanted
//!                               |        ^
//!                       buffers v        | spent
//!                           write (thread, only for archives): the archive's file
//! ```
//! All channels are short and bounded, so a slow disk slows the download and memory stays small. Whoever fails drops his ends of the
//! channels and the others stop; the first cause is what gets reported. Nothing here knows the network, or where in the store it is.

mod buffers;
mod expanded;
mod index;
mod inflate;
mod input;
mod memory;
mod write;

pub(crate) use expanded::Expanded;
pub(crate) use input::{FEED_PIECES, Feed};
pub(crate) use memory::Memory;

use crate::error::LayerError;
use crate::tree::{Contents, LayerTree};
use buffers::{Buffer, Pool};
use coord_shared::names::Digest;
use coord_tar::Limits;
use index::{Archive, Onward};
use inflate::Decoder;
use input::Input;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use tokio::sync::mpsc;
use write::ArchiveFile;

/// Buffers between two threads: enough to bridge a moment in which one of them does not run.
const BUFFERS: usize = 3;
/// Buffers that are written by one call to the kernel. Disks like large writes.
const BUFFERS_AT_ONCE: usize = 4;

/// A layer to be made.
pub(crate) struct Job<'a> {
    /// Of the compressed bytes.
    pub(crate) digest: &'a Digest,
    /// Of the archive.
    pub(crate) diff_id: &'a Digest,
    pub(crate) limits: &'a Limits,
    pub(crate) memory: &'a Memory,
    /// Where to write the archive, if it is to be kept: a new file. Syncing it is left to the caller.
    pub(crate) archive: Option<&'a Path>,
    /// Says whether there is room for more; asked now and then.
    pub(crate) room: &'a (dyn Fn() -> Result<(), LayerError> + Sync),
}

/// What a layer turned out to be.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) tree: LayerTree,
    pub(crate) archive_bytes: u64,
}

/// Decodes, verifies and indexes a layer, and writes what the job and `contents` want of it. Blocks until the feed ends.
pub(crate) fn run(feed: mpsc::Receiver<Feed>, job: &Job<'_>, contents: &mut (dyn Contents + Send)) -> Result<Made, LayerError> {
    let mut input = Input::new(feed);
    let ended = std::thread::scope(|scope| flow(scope, &mut input, job, contents));
    let result = match ended {
        Ended { inflated: Err(LayerError::Stopped), indexed: Err(LayerError::Stopped), written: Err(error) }
        | Ended { inflated: Ok(()), indexed: Ok(_) | Err(LayerError::Stopped), written: Err(error) }
        | Ended { inflated: Err(LayerError::Stopped) | Ok(()), indexed: Err(error), .. }
        | Ended { inflated: Err(error), .. } => Err(error),
        Ended { inflated: Ok(()), indexed: Ok(indexed), written: Ok(()) } => Ok(indexed),
    };
    // Wrong bytes make all kinds of trouble further on; when they are wrong, that is the error to tell.
    if matches!(result, Ok(_) | Err(LayerError::Compression { .. } | LayerError::Tar { .. })) {
        input.verify(job.digest)?;
    }
    let (made, actual) = result?;
    if actual != *job.diff_id {
        return Err(LayerError::DiffId { expected: job.diff_id.clone(), actual });
    }
    Ok(made)
}

/// How each thread ended.
struct Ended {
    inflated: Result<(), LayerError>,
    indexed: Result<(Made, Digest), LayerError>,
    written: Result<(), LayerError>,
}

fn flow<'s>(scope: &'s Scope<'s, '_>, input: &mut Input, job: &'s Job<'_>, contents: &'s mut (dyn Contents + Send)) -> Ended {
    let (full, to_index) = sync_channel(BUFFERS);
    let (spent, to_fill) = channel();
    let writer = job.archive.map(|path| {
        let (indexed, to_write) = sync_channel(BUFFERS);
        let spent = spent.clone();
        let writing = start(scope, "layer-write", move || write(to_write, &spent, path, job.room));
        (Onward::Writer(indexed), writing)
    });
    let (onward, writing) = writer.map_or((Onward::Pool(spent), None), |(onward, writing)| (onward, Some(writing)));
    let indexing = start(scope, "layer-index", move || {
        let mut archive = Archive::new(to_index, onward);
        let tree = crate::tree::read_layer(&mut archive, job.limits, contents)?;
        let (archive_bytes, diff_id) = archive.finish()?;
        Ok((Made { tree, archive_bytes }, diff_id))
    });
    let inflated = inflate(input, full, &Pool { spent: to_fill }, job);
    Ended { inflated, indexed: join(indexing), written: writing.map_or(Ok(()), join) }
}

type Started<'s, T> = Result<ScopedJoinHandle<'s, Result<T, LayerError>>, LayerError>;

fn start<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    name: &str,
    work: impl FnOnce() -> Result<T, LayerError> + Send + 's,
) -> Started<'s, T> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|e| LayerError::io("start a thread for", b"", e))
}

fn join<T>(started: Started<'_, T>) -> Result<T, LayerError> {
    started?.join().unwrap_or(Err(LayerError::Stopped))
}

/// Inflates the input into buffers for the index.
fn inflate(input: &mut Input, full: SyncSender<Buffer>, pool: &Pool, job: &Job<'_>) -> Result<(), LayerError> {
    let mut decoder = Decoder::new(input, job.memory)?;
    let mut out_bytes = 0;
    loop {
        let mut buffer = pool.buffer();
        let filled = decoder.fill(input, buffer.space())?;
        buffer.set_filled(filled);
        out_bytes += filled as u64;
        job.limits.check_size(input.bytes(), out_bytes)?;
        // An empty buffer is the end.
        full.send(buffer).map_err(|_| LayerError::Stopped)?;
        if filled == 0 {
            return Ok(());
        }
    }
}

/// Writes the archive, as many buffers at once as have come.
fn write(
    indexed: Receiver<Buffer>,
    spent: &Sender<Buffer>,
    path: &Path,
    room: &(dyn Fn() -> Result<(), LayerError> + Sync),
) -> Result<(), LayerError> {
    let mut file = ArchiveFile::create(path, room)?;
    let mut batch = Vec::with_capacity(BUFFERS_AT_ONCE);
    loop {
        // The empty buffer at the end says that all went well until there.
        let first = indexed.recv().map_err(|_| LayerError::Stopped)?;
        batch.push(first);
        while batch.len() < BUFFERS_AT_ONCE
            && let Ok(next) = indexed.try_recv()
        {
            batch.push(next);
        }
        let is_over = batch.last().is_some_and(|last| last.bytes().is_empty());
        file.append(&batch)?;
        for buffer in batch.drain(..) {
            buffers::give_back(spent, buffer);
        }
        if is_over {
            return file.finish();
        }
    }
}
