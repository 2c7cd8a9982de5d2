//! A connection of frames, whatever carries them.

use coord_shared::wire::Frame;
use tokio::sync::mpsc;

/// Frames each way that wait to be carried on; what may be on its way in all is bounded by the windows of the two ends.
const FRAMES_MAX: usize = 4;

/// One end of a connection. Dropping it ends the connection; the other end then reads `None`.
#[derive(Debug)]
pub struct Frames {
    /// To the other end. Fails once the connection is gone.
    pub sender: mpsc::Sender<Frame>,
    /// From the other end; `None` once the connection is gone.
    pub receiver: mpsc::Receiver<Frame>,
}

impl Frames {
    /// Two ends that are connected with each other.
    pub fn pair() -> (Frames, Frames) {
        let (to_second, second) = mpsc::channel(FRAMES_MAX);
        let (to_first, first) = mpsc::channel(FRAMES_MAX);
        (Frames { sender: to_second, receiver: first }, Frames { sender: to_first, receiver: second })
    }
}
