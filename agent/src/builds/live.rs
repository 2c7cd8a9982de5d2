//! The log of a run, as it grows: for whoever watches a build.

use super::Builder;
use bytes::Bytes;
use coord_shared::names::RunId;
use coord_shared::wire::RunLogsRequest;
use futures_util::stream::{self, Stream};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks whether there is more.
const PAUSE: Duration = Duration::from_millis(200);
/// What travels in one piece.
const PIECE_MAX_BYTES: usize = 64 * 1024;

struct Position {
    builder: Builder,
    run: RunId,
    path: PathBuf,
    offset: u64,
    follow: bool,
}

/// Whole lines of a run's log, from its beginning; until the run is over, where that is asked for. The error is in words for people.
pub(super) fn lines(
    builder: &Builder,
    asked: &RunLogsRequest,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<>, String> {
    let path = builder.places.log(&asked.run);
    if !path.exists() {
        return Err(format!(
            "this host has no log of run {}; it has not begun here, or is kept by the coordinator by now",
            asked.run
        ));
    }
    let position = Position { builder: builder.clone(), run: asked.run.clone(), path, offset: 0, follow: asked.follow };
    Ok(stream::unfold(position, async |mut position| {
        loop {
            // Looked at before the last read: what is over writes nothing more.
            let goes_on = position.follow && position.builder.is_at_work(&position.run);
            match read(&position.path, position.offset) {
                Ok(bytes) if !bytes.is_empty() => {
                    position.offset += bytes.len() as u64;
                    return Some((Ok(bytes), position));
                }
                Ok(_) if goes_on => tokio::time::sleep(PAUSE).await,
                Ok(_) => return None,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => return Some((Err(error), Position { follow: false, ..position })),
            }
        }
    }))
}

fn read(path: &std::path::Path, offset: u64) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let mut bytes = vec![0; PIECE_MAX_BYTES];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    // A line is shorter than a piece.
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    bytes.truncate(whole);
    Ok(bytes.into())
}
