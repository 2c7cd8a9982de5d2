//! Writes archives, honest and dishonest, byte by byte: a library would refuse to write what has to be tried here.

use bytes::Bytes;
use coord_registry::fake::FakeLayer;
use coord_shared::names::Digest;
use std::io::Write as _;

const BLOCK_BYTES: usize = 512;

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Tarball(Vec<u8>);

impl Tarball {
    pub(crate) fn new() -> Tarball {
        Tarball::default()
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Tarball {
        self.entry(name.as_bytes(), b'0', 0o644, b"", content.as_bytes())
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Tarball {
        self.entry(name.as_bytes(), b'5', mode, b"", b"")
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Tarball {
        self.entry(name.as_bytes(), b'2', 0o777, to.as_bytes(), b"")
    }

    pub(crate) fn hard_link(self, name: &str, to: &str) -> Tarball {
        self.entry(name.as_bytes(), b'1', 0o644, to.as_bytes(), b"")
    }

    /// An extended header for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tarball {
        let mut content = Vec::new();
        for (key, value) in records {
            // The length counts itself.
            let rest = key.len() + value.len() + 3;
            let length = (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length).unwrap();
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.entry(b"PaxHeaders/x", b'x', 0o644, b"", &content)
    }

    pub(crate) fn entry(mut self, name: &[u8], flag: u8, mode: u32, link: &[u8], content: &[u8]) -> Tarball {
        self.0.extend_from_slice(&header(name, flag, mode, link, content.len() as u64));
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Tarball {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes so far, without the end's mark.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK_BYTES, 0);
        self.0
    }

    /// As a registry would serve it.
    pub(crate) fn layer(self) -> FakeLayer {
        let archive = self.finish();
        FakeLayer { diff_id: Digest::of(&archive), blob: gzip(&archive) }
    }
}

/// A header as ustar has it, owned by whoever runs the tests.
pub(crate) fn header(name: &[u8], flag: u8, mode: u32, link: &[u8], size: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{:07o}", rustix::process::geteuid().as_raw()).as_bytes());
    put(116, format!("{:07o}", rustix::process::getegid().as_raw()).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", 1_700_000_000).as_bytes());
    put(156, &[flag]);
    put(157, link);
    put(257, b"ustar\x0000");
    seal(&mut block);
    block
}

/// Puts the right checksum in.
pub(crate) fn seal(block: &mut [u8; BLOCK_BYTES]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub(crate) fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap().into()
}
