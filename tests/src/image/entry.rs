//! One entry of a layer, written byte by byte: libraries refuse, or leave out, some of what images really have.
//!
//! Ustar headers with PAX records (POSIX, pax) for what does not fit: long and odd names, extended attributes, times
//! between seconds and before the epoch, large owners, sparse files (GNU's format 1.0).

const BLOCK_BYTES: usize = 512;
/// What the name field takes, and the link field.
const NAME_BYTES_MAX: usize = 100;
/// What seven octal digits hold.
const OWNER_MAX: u64 = 0o777_7777;

/// What is at the name.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    File(&'a [u8]),
    Dir,
    Symlink(&'a [u8]),
    HardLink(&'a [u8]),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    /// The whole length, and what is written where.
    Sparse(u64, &'a [(u64, &'a [u8])]),
}

/// An entry; see [`entry`].
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    name: &'a [u8],
    kind: Kind<'a>,
    mode: u32,
    owner: (u64, u64),
    time: (i64, u32),
    xattrs: Vec<(&'a str, &'a [u8])>,
}

/// Owned by root, dated to the epoch.
pub fn entry<'a>(name: &'a (impl AsRef<[u8]> + ?Sized), mode: u32, kind: Kind<'a>) -> Entry<'a> {
    Entry { name: name.as_ref(), kind, mode, owner: (0, 0), time: (0, 0), xattrs: Vec::new() }
}

/// A whole tar of these.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.iter().flat_map(Entry::to_tar).collect();
    // Two empty blocks end it.
    tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
    tar
}

impl<'a> Entry<'a> {
    pub fn owner(self, user: u64, group: u64) -> Entry<'a> {
        Entry { owner: (user, group), ..self }
    }

    /// Seconds since the epoch and nanoseconds.
    pub fn time(self, seconds: i64, nanos: u32) -> Entry<'a> {
        Entry { time: (seconds, nanos), ..self }
    }

    pub fn xattr(mut self, name: &'a str, value: &'a [u8]) -> Entry<'a> {
        self.xattrs.push((name, value));
        self
    }

    /// Its blocks of a tar: extended header, header, content.
    pub(super) fn to_tar(&self) -> Vec<u8> {
        let (content, sparse_size) = self.content();
        let mut records = Vec::new();
        self.records(sparse_size, &mut records);
        let mut tar = Vec::new();
        if !records.is_empty() {
            tar.extend_from_slice(&header(b"pax", b'x', 0o644, (0, 0), 0, b"", (0, 0), records.len()));
            append_padded(&mut tar, &records);
        }
        let (flag, link, device): (u8, &[u8], (u32, u32)) = match self.kind {
            Kind::File(_) | Kind::Sparse(..) => (b'0', b"", (0, 0)),
            Kind::HardLink(to) => (b'1', to, (0, 0)),
            Kind::Symlink(to) => (b'2', to, (0, 0)),
            Kind::Char(major, minor) => (b'3', b"", (major, minor)),
            Kind::Block(major, minor) => (b'4', b"", (major, minor)),
            Kind::Dir => (b'5', b"", (0, 0)),
            Kind::Fifo => (b'6', b"", (0, 0)),
        };
        let time = u64::try_from(self.time.0).unwrap_or_default();
        tar.extend_from_slice(&header(self.name, flag, self.mode, self.owner, time, link, device, content.len()));
        append_padded(&mut tar, &content);
        tar
    }

    /// What follows the header, and the real size of a sparse file.
    fn content(&self) -> (Vec<u8>, Option<u64>) {
        match self.kind {
            Kind::File(content) => (content.to_vec(), None),
            Kind::Sparse(size, pieces) => {
                let map = pieces.iter().map(|(at, bytes)| format!("{at}\n{}\n", bytes.len())).collect::<String>();
                let mut content = Vec::new();
                append_padded(&mut content, format!("{}\n{map}", pieces.len()).as_bytes());
                pieces.iter().for_each(|(_, bytes)| content.extend_from_slice(bytes));
                (content, Some(size))
            }
            Kind::Dir | Kind::Symlink(_) | Kind::HardLink(_) | Kind::Char(..) | Kind::Block(..) | Kind::Fifo => {
                (Vec::new(), None)
            }
        }
    }

    fn records(&self, sparse_size: Option<u64>, records: &mut Vec<u8>) {
        if let Some(size) = sparse_size {
            record(records, "GNU.sparse.major", b"1");
            record(records, "GNU.sparse.minor", b"0");
            record(records, "GNU.sparse.name", self.name);
            record(records, "GNU.sparse.realsize", size.to_string().as_bytes());
        } else if self.name.len() > NAME_BYTES_MAX {
            record(records, "path", self.name);
        }
        if let Kind::Symlink(to) | Kind::HardLink(to) = self.kind
            && to.len() > NAME_BYTES_MAX
        {
            record(records, "linkpath", to);
        }
        for (key, id) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if id > OWNER_MAX {
                record(records, key, id.to_string().as_bytes());
            }
        }
        let (seconds, nanos) = self.time;
        if seconds < 0 || nanos != 0 {
            // A fraction counts upwards from the seconds, also before the epoch: -1.5 is half a second after -2.
            let text = match (seconds, nanos) {
                (..0, 1..) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
                _ => format!("{seconds}.{nanos:09}"),
            };
            record(records, "mtime", text.as_bytes());
        }
        for (name, value) in &self.xattrs {
            record(records, &format!("SCHILY.xattr.{name}"), value);
        }
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() > length {
        length += 1;
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[allow(clippy::too_many_arguments, reason = "the fields of a header, in their order")]
fn header(
    name: &[u8],
    flag: u8,
    mode: u32,
    owner: (u64, u64),
    time: u64,
    link: &[u8],
    device: (u32, u32),
    size: usize,
) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    let cut = |text: &[u8]| text[..text.len().min(NAME_BYTES_MAX)].to_vec();
    put(0, &cut(name));
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{:07o}", owner.0.min(OWNER_MAX)).as_bytes());
    put(116, format!("{:07o}", owner.1.min(OWNER_MAX)).as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{time:011o}").as_bytes());
    put(148, b"        ");
    put(156, &[flag]);
    put(157, &cut(link));
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", device.0).as_bytes());
    put(337, format!("{:07o}", device.1).as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn append_padded(tar: &mut Vec<u8>, bytes: &[u8]) {
    tar.extend_from_slice(bytes);
    tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
}
