//! gzip (RFC 1952): members one after the other, each a header, deflated data (RFC 1951) and a trailer.

use super::{Input, LayerError, cut_off, malformed};
use flate2::{Decompress, FlushDecompress, Status};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Magic, method, flags, time, level, system.
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const DEFLATE: u8 = 8;
/// Longest file name or comment; writers put a path there, if anything.
const TEXT_MAX_BYTES: usize = 64 * 1024;

/// Bits of the header's flags.
const HAS_HEADER_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

pub(super) fn is_member(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

pub(in super::super) struct Gzip {
    inflate: Decompress,
    is_in_member: bool,
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip { inflate: Decompress::new(false), is_in_member: false }
    }

    /// Some bytes, or none at the end of the input.
    pub(super) fn read(&mut self, input: &mut Input, space: &mut [u8]) -> Result<usize, LayerError> {
        loop {
            if !self.is_in_member {
                if input.fill()?.is_empty() {
                    return Ok(0);
                }
                skip_header(input)?;
                self.inflate.reset(false);
                self.is_in_member = true;
            }
            let made = self.inflate(input, space)?;
            if made > 0 {
                return Ok(made);
            }
        }
    }

    /// Some bytes; none only when the member has ended without any more.
    fn inflate(&mut self, input: &mut Input, space: &mut [u8]) -> Result<usize, LayerError> {
        loop {
            let piece = input.fill()?;
            let is_over = piece.is_empty();
            let (in_before, out_before) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(piece, space, FlushDecompress::None);
            let taken = usize::try_from(self.inflate.total_in() - in_before).unwrap_or(0);
            let made = usize::try_from(self.inflate.total_out() - out_before).unwrap_or(0);
            input.consume(taken);
            match status.map_err(|e| LayerError::Compression { source: e.into() })? {
                Status::StreamEnd => {
                    self.skip_trailer(input)?;
                    return Ok(made);
                }
                Status::Ok | Status::BufError if made > 0 => return Ok(made),
                Status::Ok | Status::BufError if is_over => return Err(cut_off()),
                Status::Ok => {}
                // With room to write to, no progress means that it wants more; and it took nothing of what there is.
                Status::BufError if taken == 0 => return Err(malformed("its deflated data makes no progress")),
                Status::BufError => {}
            }
        }
    }

    fn skip_trailer(&mut self, input: &mut Input) -> Result<(), LayerError> {
        let trailer = take(input, TRAILER_BYTES)?;
        let declared = trailer[4..].iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
        if declared != self.inflate.total_out() & 0xffff_ffff {
            return Err(malformed("its size is not what its trailer says"));
        }
        self.is_in_member = false;
        Ok(())
    }
}

fn skip_header(input: &mut Input) -> Result<(), LayerError> {
    let header = take(input, HEADER_BYTES)?;
    if !is_member(&header) {
        return Err(malformed("there is something else after its end"));
    }
    let flags = header[3];
    if header[2] != DEFLATE || flags & RESERVED != 0 {
        return Err(malformed("it has a gzip header of an unknown kind"));
    }
    if flags & HAS_EXTRA != 0 {
        let length = take(input, 2)?;
        take(input, usize::from(length[0]) | usize::from(length[1]) << 8)?;
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            skip_text(input)?;
        }
    }
    if flags & HAS_HEADER_CRC != 0 {
        take(input, 2)?;
    }
    Ok(())
}

/// To the NUL at its end.
fn skip_text(input: &mut Input) -> Result<(), LayerError> {
    for _ in 0..TEXT_MAX_BYTES {
        if take(input, 1)?[0] == 0 {
            return Ok(());
        }
    }
    Err(malformed("it has a gzip header of more than 64 KiB"))
}

fn take(input: &mut Input, length: usize) -> Result<Vec<u8>, LayerError> {
    let taken = input.peek(length)?.to_vec();
    if taken.len() < length {
        return Err(cut_off());
    }
    input.consume(length);
    Ok(taken)
}
