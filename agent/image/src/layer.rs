//! One layer, from compressed bytes to a folder, while they arrive.
//!
//! ```text
//!   fetch (async) --bytes--> decode (thread): sha256, inflate --buffers--> unpack (thread): sha256 (diff id), files
//! ```
//! Both channels are short and bounded, so a slow disk slows the download and memory stays small. Whoever fails drops his end of the
//! channel and the others stop; the first cause is what gets reported. Nothing here knows the network or the store.

use super::error::LayerError;
use super::limits::Limits;
use super::unpack::tar::Archive;
use super::unpack::{Summary, unpack};
use bytes::{Buf, Bytes};
use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc as threads;
use tokio::sync::mpsc;

/// Pieces of a download on their way to the decoder; each is at most what the HTTP client reads at once.
pub(super) const FEED_PIECES: usize = 4;
/// Large enough that waking the other thread costs nothing beside the work on it.
const BUFFER_BYTES: usize = 256 * 1024;
/// Buffers between decoder and unpacker.
const BUFFERS: usize = 4;
/// Largest zstd window: 2^25 = 32 MiB, what common encoders use at their highest normal levels. More is memory that a layer asks of us.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What the decoder is fed. The end is said in so many words: a feeder that just goes away was stopped.
pub(super) enum Feed {
    Bytes(Bytes),
    End,
}

/// Decodes, verifies and unpacks a layer into `root`, an empty directory. Blocks until the feed ends.
pub(super) fn unpack_layer(
    feed: mpsc::Receiver<Feed>,
    digest: &Digest,
    diff_id: &Digest,
    root: OwnedFd,
    limits: &Limits,
) -> Result<Summary, LayerError> {
    let mut input = Input { feed, piece: Bytes::new(), hash: Sha256::new(), bytes: 0, is_over: false };
    let (full, to_unpack) = threads::sync_channel(BUFFERS);
    let (spent, to_decode) = threads::channel();
    let (decoded, unpacked) = std::thread::scope(|scope| {
        let unpacker = std::thread::Builder::new().name("unpack".to_owned()).spawn_scoped(scope, move || {
            let mut buffers = Buffers { full: to_unpack, spent, current: Vec::new(), at: 0, hash: Sha256::new(), is_over: false };
            let summary = unpack(Archive::new(&mut buffers), root, limits)?;
            Ok((summary, Digest::from_sha256(buffers.hash.finalize().into())))
        });
        match unpacker {
            Ok(unpacker) => {
                let decoded = decode(&mut input, full, &to_decode, limits);
                (decoded, unpacker.join().unwrap_or(Err(LayerError::Stopped)))
            }
            Err(e) => (Err(LayerError::io("start a thread for", b"", e)), Err(LayerError::Stopped)),
        }
    });
    let result = match (decoded, unpacked) {
        (Err(LayerError::Stopped), Err(error)) | (Err(error), _) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(unpacked)) => Ok(unpacked),
    };
    // Wrong bytes make all kinds of trouble further on; when they are wrong, that is the error to tell.
    if matches!(result, Ok(_) | Err(LayerError::Compression { .. } | LayerError::Tar { .. })) {
        input.verify(digest)?;
    }
    let (summary, actual) = result?;
    if actual != *diff_id {
        return Err(LayerError::DiffId { expected: diff_id.clone(), actual });
    }
    Ok(summary)
}

/// Inflates the input into buffers for the unpacker, which gives them back when they are spent.
fn decode(
    input: &mut Input,
    full: threads::SyncSender<Vec<u8>>,
    spent: &threads::Receiver<Vec<u8>>,
    limits: &Limits,
) -> Result<(), LayerError> {
    let magic = input.peek_magic()?;
    let mut decoder = Decoder::new(&magic, input)?;
    let mut out_bytes = 0;
    loop {
        let mut buffer = spent.try_recv().unwrap_or_default();
        buffer.resize(BUFFER_BYTES, 0);
        let filled = decoder.fill(&mut buffer)?;
        buffer.truncate(filled);
        out_bytes += filled as u64;
        check_size(decoder.in_bytes(), out_bytes, limits)?;
        // An empty buffer is the end.
        full.send(buffer).map_err(|_| LayerError::Stopped)?;
        if filled == 0 {
            return Ok(());
        }
    }
}

fn check_size(in_bytes: u64, out_bytes: u64, limits: &Limits) -> Result<(), LayerError> {
    if out_bytes > limits.layer_max_bytes {
        return Err(LayerError::Limit { limit: format!("{} bytes", limits.layer_max_bytes) });
    }
    if out_bytes > limits.ratio_free_bytes && out_bytes / limits.ratio_max > in_bytes {
        return Err(LayerError::Limit { limit: format!("{} bytes unpacked per byte packed", limits.ratio_max) });
    }
    Ok(())
}

/// By the first bytes, not by the media type: registries hold plenty of layers whose type is wrong.
enum Decoder<'a> {
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a mut Input>>),
    Zstd(zstd::stream::read::Decoder<'static, &'a mut Input>),
    Plain(&'a mut Input),
}

impl<'a> Decoder<'a> {
    fn new(magic: &[u8], input: &'a mut Input) -> Result<Decoder<'a>, LayerError> {
        if magic.starts_with(&GZIP_MAGIC) {
            return Ok(Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))));
        }
        if magic.starts_with(&ZSTD_MAGIC) {
            let compression = |source| LayerError::Compression { source };
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(compression)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(compression)?;
            return Ok(Decoder::Zstd(decoder));
        }
        Ok(Decoder::Plain(input))
    }

    /// As much as fits; less only at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match self {
                Decoder::Gzip(decoder) => decoder.read(&mut buffer[filled..]),
                Decoder::Zstd(decoder) => decoder.read(&mut buffer[filled..]),
                Decoder::Plain(input) => input.read(&mut buffer[filled..]),
            };
            match read {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(LayerError::Stopped),
                Err(source) => return Err(LayerError::Compression { source }),
            }
        }
        Ok(filled)
    }

    fn in_bytes(&self) -> u64 {
        match self {
            Decoder::Gzip(decoder) => decoder.get_ref().bytes,
            Decoder::Zstd(decoder) => decoder.get_ref().bytes,
            Decoder::Plain(input) => input.bytes,
        }
    }
}

/// The compressed bytes as they come from the network, hashed on the way.
struct Input {
    feed: mpsc::Receiver<Feed>,
    piece: Bytes,
    hash: Sha256,
    bytes: u64,
    is_over: bool,
}

impl Input {
    /// The first bytes of the first piece; a piece too short for a magic number is joined with those that follow.
    fn peek_magic(&mut self) -> Result<[u8; 4], LayerError> {
        self.fill_buf().map_err(|_| LayerError::Stopped)?;
        while self.piece.len() < ZSTD_MAGIC.len() && !self.is_over {
            let start = std::mem::take(&mut self.piece);
            self.fill_buf().map_err(|_| LayerError::Stopped)?;
            self.piece = [start, std::mem::take(&mut self.piece)].concat().into();
        }
        let mut magic = [0; 4];
        let length = self.piece.len().min(magic.len());
        magic[..length].copy_from_slice(&self.piece[..length]);
        Ok(magic)
    }

    /// Reads what the decoder left and compares the digest.
    fn verify(&mut self, digest: &Digest) -> Result<(), LayerError> {
        loop {
            let length = self.fill_buf().map_err(|_| LayerError::Stopped)?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        let actual = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
        if actual == *digest { Ok(()) } else { Err(LayerError::Digest { actual }) }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() && !self.is_over {
            match self.feed.blocking_recv() {
                Some(Feed::Bytes(bytes)) => {
                    self.hash.update(&bytes);
                    self.bytes += bytes.len() as u64;
                    self.piece = bytes;
                }
                Some(Feed::End) => self.is_over = true,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// The archive as the unpacker sees it, hashed on the way.
struct Buffers {
    full: threads::Receiver<Vec<u8>>,
    spent: threads::Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    hash: Sha256,
    is_over: bool,
}

impl BufRead for Buffers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && !self.is_over {
            // A decoder that is gone needs no buffers.
            let _ = self.spent.send(std::mem::take(&mut self.current));
            self.current = self.full.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.at = 0;
            self.is_over = self.current.is_empty();
            self.hash.update(&self.current);
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Buffers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}
