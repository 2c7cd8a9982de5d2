//! What an archive is, told by its first bytes, and its tar without the compression. What names and media types say is not looked at.

use crate::ArchiveError;
use coord_tar::Limits;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// Enough to see what it is: a tar's mark is the farthest.
const HEAD_BYTES: usize = 512;
/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 128 * 1024;
/// Largest window of zstd: 2^27 = 128 MiB, up to which the zstd program reads by itself.
const WINDOW_LOG_MAX: u32 = 27;

/// Kinds of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gzip,
    Zstd,
    Tar,
    Zip,
}

/// What begins with these bytes.
pub(crate) fn kind(head: &[u8]) -> Result<Kind, ArchiveError> {
    let other = |what| Err(ArchiveError::Kind { what });
    match head {
        [0x1f, 0x8b, ..] => Ok(Kind::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Kind::Zstd),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Kind::Zip),
        [] => Err(ArchiveError::Empty),
        [b'B', b'Z', b'h', ..] => other("compressed with bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => other("compressed with xz"),
        [b'7', b'z', 0xbc, 0xaf, ..] => other("a 7z archive"),
        [b'R', b'a', b'r', b'!', ..] => other("a RAR archive"),
        [0x7f, b'E', b'L', b'F', ..] => other("a program, and no archive"),
        _ if head.get(257..262) == Some(b"ustar") || head.iter().all(|byte| *byte == 0) || is_old_tar(head) => Ok(Kind::Tar),
        _ => other("of a kind that is not known here"),
    }
}

/// Before ustar there was no mark: a name, and octal numbers behind it.
fn is_old_tar(head: &[u8]) -> bool {
    let is_number =
        |field: &[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0)) && field.iter().any(|b| *b != 0);
    head.len() >= HEAD_BYTES
        && head[0] != 0
        && is_number(&head[100..108])
        && is_number(&head[124..136])
        && is_number(&head[148..156])
}

/// The first bytes, as many as `kind` looks at.
pub(crate) fn head(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    input.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The bytes of a tar, whatever it is compressed with; none of a zip, which has no order. A bomb ends with an error that is a `TarError`.
pub(crate) fn tar<'a>(head: Vec<u8>, rest: impl Read + 'a, limits: &Limits) -> Result<impl BufRead + 'a, ArchiveError> {
    let kind = kind(&head)?;
    let whole = Counted { inner: io::Cursor::new(head).chain(rest), bytes: 0 };
    let decoder = match kind {
        Kind::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))),
        Kind::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(whole).map_err(ArchiveError::io("start a decoder"))?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(ArchiveError::io("start a decoder"))?;
            Decoder::Zstd(decoder)
        }
        Kind::Tar => Decoder::Plain(whole),
        Kind::Zip => return Err(ArchiveError::Kind { what: "a zip file, where a layer is expected" }),
    };
    Ok(BufReader::with_capacity(BUFFER_BYTES, Guarded { decoder, made: 0, limits: *limits }))
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes += length as u64;
        Ok(length)
    }
}

enum Decoder<R: Read> {
    Gzip(Box<MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Counted<R>>>),
    Plain(Counted<R>),
}

/// Ends when more comes out than may.
struct Guarded<R: Read> {
    decoder: Decoder<R>,
    made: u64,
    limits: Limits,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, taken) = match &mut self.decoder {
            Decoder::Gzip(decoder) => (decoder.read(buffer)?, decoder.get_ref().get_ref().bytes),
            Decoder::Zstd(decoder) => (decoder.read(buffer)?, decoder.get_ref().get_ref().bytes),
            Decoder::Plain(plain) => (plain.read(buffer)?, plain.bytes),
        };
        self.made += length as u64;
        self.limits.check_size(taken, self.made).map_err(io::Error::other)?;
        Ok(length)
    }
}
