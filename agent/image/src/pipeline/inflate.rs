//! From compressed bytes to an archive, whatever the format: gzip, zstd, or none.
//!
//! The format is told by the first bytes, not by the media type: registries hold plenty of layers whose type is wrong. What follows a
//! gzip member must be another member, and what follows a zstd frame another frame, as Go's readers and so all engines have it.
//!
//! Deliberately absent: the checksums of gzip (a layer's digests say all that they could, and more), and limits on what comes out.

mod gzip;
mod zstd;

use super::input::Input;
use super::memory::Memory;
use crate::error::LayerError;
use std::io;

/// Decodes one layer.
pub(super) enum Decoder<'m> {
    Gzip(gzip::Gzip),
    Zstd(zstd::Zstd<'m>),
    Plain,
}

impl<'m> Decoder<'m> {
    /// Looks at the first bytes of the input and leaves them there.
    pub(super) fn new(input: &mut Input, memory: &'m Memory) -> Result<Decoder<'m>, LayerError> {
        let magic = input.peek(zstd::MAGIC_BYTES)?;
        Ok(if gzip::is_member(magic) {
            Decoder::Gzip(gzip::Gzip::new())
        } else if zstd::is_frame(magic) {
            Decoder::Zstd(zstd::Zstd::new(memory))
        } else {
            Decoder::Plain
        })
    }

    /// As much as fits; less only at the end.
    pub(super) fn fill(&mut self, input: &mut Input, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let space = &mut buffer[filled..];
            let made = match self {
                Decoder::Gzip(gzip) => gzip.read(input, space)?,
                Decoder::Zstd(zstd) => zstd.read(input, space)?,
                Decoder::Plain => copy(input, space)?,
            };
            if made == 0 {
                break;
            }
            filled += made;
        }
        Ok(filled)
    }
}

fn copy(input: &mut Input, space: &mut [u8]) -> Result<usize, LayerError> {
    let piece = input.fill()?;
    let length = piece.len().min(space.len());
    space[..length].copy_from_slice(&piece[..length]);
    input.consume(length);
    Ok(length)
}

fn malformed(problem: &'static str) -> LayerError {
    LayerError::Compression { source: io::Error::new(io::ErrorKind::InvalidData, problem) }
}

fn cut_off() -> LayerError {
    LayerError::Compression { source: io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early") }
}
