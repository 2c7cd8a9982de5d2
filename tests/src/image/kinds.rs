//! An image with every kind of entry that a layer may have, and everything that one layer may do to the one below.

use anyhow::Result;

use super::entry::Kind::{Block, Char, Dir, Fifo, File, HardLink, Sparse, Symlink};
use super::entry::entry;
use super::{Compression, Image, ImageBuilder, Layer};

/// `cap_net_bind_service=ep`, as `setcap` writes it (linux/capability.h, vfs_cap_data, revision 2).
const CAPABILITY: &[u8] = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// 2023-11-14, and a fraction of a second.
const TIME: (i64, u32) = (1_700_000_000, 123_456_789);

/// Three layers: one of each kind; changes to it; what changes do to folders and links.
pub fn image(compression: Compression) -> Result<Image> {
    let builder = ImageBuilder::default().compression(compression).command(&["/nothing"]);
    builder.layer(first()?)?.layer(second()?)?.layer(third()?)?.build()
}

fn first() -> Result<Layer> {
    let long = format!("long/{}/{}", "folder".repeat(20), "file".repeat(30));
    let (name, target) = (format!("long/{}", "n".repeat(200)), format!("../{}", "t".repeat(200)));
    let pieces: &[(u64, &[u8])] = &[(0, b"begin"), (1_000_000, b"middle"), (4_999_997, b"end")];
    let big: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let layer = Layer::default()
        .with(&entry("./", 0o750, Dir).owner(3, 4).time(TIME.0, 0))
        .with(&entry("kinds/", 0o755, Dir).time(TIME.0, TIME.1))
        .with(&entry("kinds/empty", 0o600, File(b"")))
        .with(&entry("kinds/small", 0o644, File(b"small\n")).time(TIME.0, TIME.1))
        .with(&entry("kinds/big", 0o444, File(&big)).owner(1000, 1001))
        .with(&entry("kinds/far", 0o644, File(b"far")).owner(4_000_000_000, 3_000_000_000))
        .with(&entry("kinds/old", 0o644, File(b"before the epoch")).time(-86_400, 0))
        .with(&entry("kinds/setuid", 0o4755, File(b"s")))
        .with(&entry("kinds/setgid", 0o2755, File(b"g")))
        .with(&entry("kinds/capable", 0o755, File(b"c")).xattr("security.capability", CAPABILITY))
        .with(&entry("kinds/noted", 0o644, File(b"n")).xattr("user.note", b"a note").xattr("user.second", b"\x00\xff"))
        .with(&entry("kinds/noted-dir/", 0o1777, Dir).xattr("user.note", b"of a folder"))
        .with(&entry("kinds/sparse", 0o644, Sparse(5_000_000, pieces)).time(TIME.0, 0))
        .with(&entry("kinds/hollow", 0o644, Sparse(3_000_000, &[])))
        .with(&entry("kinds/link", 0o777, Symlink(b"small")).time(TIME.0, 0))
        .with(&entry("kinds/dangling", 0o777, Symlink(b"/not/there")))
        .with(&entry("kinds/twin", 0o644, HardLink(b"kinds/small")).time(TIME.0, TIME.1))
        .with(&entry("kinds/null", 0o666, Char(1, 3)))
        .with(&entry("kinds/disk", 0o660, Block(259, 70_000)).owner(0, 6))
        .with(&entry("kinds/fifo", 0o622, Fifo).owner(7, 7))
        .with(&entry("kinds/\u{e4}\u{20ac}\u{1f980}", 0o644, File(b"unicode")))
        .with(&entry(b"kinds/\xff\xfe latin", 0o644, File(b"not UTF-8")))
        .with(&entry("kinds/a\nb", 0o644, File(b"a line end")))
        .with(&entry("long/", 0o755, Dir))
        .with(&entry(&name, 0o777, Symlink(target.as_bytes())))
        .with(&entry("absent/parent", 0o640, File(b"its folder is not described")).owner(5, 5));
    // The other way of long names, GNU's.
    let layer = layer.file(&long, 0o644, b"long")?;
    let layer = layer.dir("replaced", 0o755)?.file("replaced/gone", 0o644, b"1")?.file("becomes-dir", 0o644, b"1")?;
    let layer = layer.dir("emptied", 0o711)?.file("emptied/a", 0o644, b"1")?.file("emptied/b", 0o644, b"1")?;
    let layer = layer.dir("kept", 0o700)?.file("kept/a", 0o600, b"1")?.file("kept/b", 0o600, b"1")?;
    let layer = layer.dir("real", 0o755)?.file("real/a", 0o644, b"1")?.symlink("to-real", "real")?;
    Ok(layer.file("shared-content", 0o644, b"linked from above")?.file("twin-1", 0o644, b"t")?.with(&entry(
        "twin-2",
        0o644,
        HardLink(b"twin-1"),
    )))
}

fn second() -> Result<Layer> {
    let layer = Layer::default()
        // A folder is described anew: what is in it stays.
        .with(&entry("kept/", 0o755, Dir).owner(9, 9).time(TIME.0, 5))
        .with(&entry("kept/b", 0o644, File(b"2")))
        .with(&entry("kept/c", 0o644, File(b"2")))
        // Emptied as a whole, and something new in it.
        .with(&entry("emptied/", 0o755, Dir))
        .with(&entry("emptied/.wh..wh..opq", 0o644, File(b"")))
        .with(&entry("emptied/new", 0o644, File(b"2")))
        // A link to what only the layer below has.
        .with(&entry("linked-across", 0o644, HardLink(b"shared-content")))
        // One of two names is replaced: the other keeps its content.
        .with(&entry("twin-1", 0o644, File(b"changed")));
    let layer = layer.whiteout("kinds/dangling")?.whiteout("replaced")?;
    let layer = layer.file("replaced", 0o644, b"now a file")?;
    let layer = layer.whiteout("becomes-dir")?.dir("becomes-dir", 0o755)?;
    layer.file("becomes-dir/inside", 0o644, b"2")
}

fn third() -> Result<Layer> {
    // Nothing but changes deep below, in folders that this layer does not describe.
    let layer = Layer::default().with(&entry("kinds/noted-dir/new", 0o644, File(b"3")));
    let layer = layer.whiteout("kinds/empty")?.whiteout("emptied/new")?;
    layer.file("kept/d", 0o644, b"3")
}
