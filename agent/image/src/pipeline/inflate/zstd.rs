//! zstd (RFC 8878): frames one after the other, each with a window of its own; frames to be skipped among them.

use super::{Input, LayerError, Memory, cut_off, malformed};
use crate::pipeline::memory::Share;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

pub(super) const MAGIC_BYTES: usize = 4;
const MAGIC: [u8; MAGIC_BYTES] = [0x28, 0xb5, 0x2f, 0xfd];
/// The first byte of a frame to be skipped is one of sixteen; these are the others.
const SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Magic, descriptor, window, dictionary, content size: the most that a frame's header can have.
const HEADER_MAX_BYTES: usize = 18;
/// Largest window: 2^25 = 32 MiB, what common encoders use at their highest normal levels. More is memory that a layer asks of us.
const WINDOW_LOG_MAX: u32 = 25;
/// What a decoder has besides its window: tables, a block of input, one of output.
const CONTEXT_BYTES: u64 = 512 * 1024;

pub(super) fn is_frame(start: &[u8]) -> bool {
    start.starts_with(&MAGIC) || is_skippable(start)
}

fn is_skippable(start: &[u8]) -> bool {
    start.first().is_some_and(|first| first & 0xf0 == 0x50) && start[1..].starts_with(&SKIPPABLE_MAGIC)
}

pub(in super::super) struct Zstd<'m> {
    memory: &'m Memory,
    /// Dropped before the share that it lives on.
    decoder: Option<Decoder<'static>>,
    share: Option<Share<'m>>,
    is_in_frame: bool,
}

impl<'m> Zstd<'m> {
    pub(super) fn new(memory: &'m Memory) -> Zstd<'m> {
        Zstd { memory, decoder: None, share: None, is_in_frame: false }
    }

    /// Some bytes, or none at the end of the input.
    pub(super) fn read(&mut self, input: &mut Input, space: &mut [u8]) -> Result<usize, LayerError> {
        loop {
            if !self.is_in_frame && !self.begin(input)? {
                return Ok(0);
            }
            let Some(decoder) = &mut self.decoder else { return Err(malformed("it has no frame")) };
            let piece = input.fill()?;
            let is_over = piece.is_empty();
            let (mut from, mut to) = (InBuffer::around(piece), OutBuffer::around(&mut *space));
            let result = decoder.run(&mut from, &mut to);
            let (taken, made) = (from.pos(), to.pos());
            input.consume(taken);
            // Zero says that the frame is complete, and all of it written.
            self.is_in_frame = result.map_err(|source| LayerError::Compression { source })? != 0;
            if made > 0 {
                return Ok(made);
            }
            if is_over && self.is_in_frame {
                return Err(cut_off());
            }
        }
    }

    /// Makes ready for the next frame; false at the end of the input.
    fn begin(&mut self, input: &mut Input) -> Result<bool, LayerError> {
        let header = input.peek(HEADER_MAX_BYTES)?;
        if header.is_empty() {
            return Ok(false);
        }
        if !is_frame(header) {
            return Err(malformed("there is something else after its end"));
        }
        let window = window_bytes(header).ok_or_else(cut_off)?;
        if window > 1 << WINDOW_LOG_MAX {
            return Err(malformed("it needs a window of more than 32 MiB"));
        }
        let needed = window + CONTEXT_BYTES;
        if self.decoder.is_none() || self.share.as_ref().is_none_or(|share| share.bytes() < needed) {
            // All is given back before more is asked for: two decoders that each wait for the other's share would wait for ever.
            self.decoder = None;
            self.share = None;
            self.share = Some(self.memory.take(needed, || input.is_abandoned())?);
            let compression = |source| LayerError::Compression { source };
            let mut decoder = Decoder::new().map_err(compression)?;
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(compression)?;
            self.decoder = Some(decoder);
        }
        self.is_in_frame = true;
        Ok(true)
    }
}

/// What a frame's decoder must remember (RFC 8878, 3.1.1.1); none when the header is cut off.
fn window_bytes(header: &[u8]) -> Option<u64> {
    const SINGLE_SEGMENT: u8 = 0x20;
    if is_skippable(header) {
        return Some(0);
    }
    let descriptor = *header.get(MAGIC_BYTES)?;
    let rest = &header[MAGIC_BYTES + 1..];
    if descriptor & SINGLE_SEGMENT == 0 {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The window is the whole content, whose size follows the dictionary's number.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let field = rest.get(dictionary_bytes..dictionary_bytes + size_bytes)?;
    let size = field.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    Some(if size_bytes == 2 { size + 256 } else { size })
}
