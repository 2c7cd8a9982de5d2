//! What a second container prints, for whoever asks at the door: the last lines, and those that come, until it has ended.

use super::body::{Answer, encode_lines, lines};
use super::child::Child;
use super::door::Door;
use super::refusal::{broken, cure, ending, refuse};
use crate::logs::{self, Follow};
use bytes::Bytes;
use coord_shared::wire::ErrorBody;
use futures_util::stream::{self, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;

/// Lines that travel in one piece.
const PIECE_LINES: usize = 256;
/// Between two looks whether there is more.
const PAUSE: Duration = Duration::from_millis(100);

/// The lines as they are in the log; the last `tail` of those that are there.
///
/// # Errors
/// `not_logged`, where its output went to whoever started it.
pub(super) async fn logs(door: &Door, child: Arc<Child>, tail: Option<usize>, follows: bool) -> Result<Answer, ErrorBody> {
    let name = child.name();
    if child.view().attached {
        let refusal = refuse("not_logged", format!("container {name} has no log: its output went to whoever started it"));
        return Err(cure(refusal, "start it detached to have its output logged"));
    }
    let path = door.tools.places.log(&door.about.container, &name);
    let begun = tokio::task::spawn_blocking(move || logs::begin(&path, tail.unwrap_or(usize::MAX), None)).await;
    let (old, position) = begun.map_err(|_| ending())?.map_err(|error| broken("read the log", &error))?;
    let old: Vec<Bytes> = old.chunks(PIECE_LINES).map(encode_lines).collect();
    let new = stream::unfold(follows.then_some((position, child)), async |position| {
        let (mut position, child) = position?;
        let piece = next(&mut position, &child).await?;
        Some((piece, Some((position, child))))
    });
    Ok(lines(stream::iter(old).chain(new)))
}

/// What comes next; `None` when it has ended and nothing more will.
async fn next(position: &mut Follow, child: &Child) -> Option<Bytes> {
    loop {
        // Looked at before the last read: its monitor has written everything before it says how it ended.
        let goes_on = !child.record.borrow().has_ended();
        match position.read() {
            Ok(lines) if !lines.is_empty() => return Some(encode_lines(&lines)),
            Ok(_) if goes_on => {}
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(%error, "a second container's log cannot be read any more");
                return None;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = child.ended() => {}
        }
    }
}
