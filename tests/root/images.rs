//! What an image looks like once it is mounted: entry by entry the same as another tool makes of it, in every format.

use anyhow::Result;
use coord_tests::config::Images;
use coord_tests::image::{Compression, Image, kinds, web};
use coord_tests::images::{Host, unpack_by_umoci};
use coord_tests::registry::TestRegistry;
use coord_tests::tree::{self, Difference};

/// A path, and which of its facts is known to be another.
type Known<'a> = (&'a str, &'a str);

/// Mounts the image in both formats, and lets nothing differ from umoci's but what umoci is known to do otherwise, and what
/// stacked directories cannot help.
fn check(image: &Image, known: &[Known], of_directories: &[Known]) -> Result<()> {
    let registry = TestRegistry::start()?;
    let reference = registry.push(image, "test/image", "1")?;
    let dir = tempfile::Builder::new().prefix("coord-umoci-").tempdir()?;
    let other = tree::read(&unpack_by_umoci(&reference, dir.path())?)?;
    for (format, known) in [("auto", known.to_vec()), ("directories", [known, of_directories].concat())] {
        let host = Host::new(registry.authority(), Images { format: Some(format), ..Images::default() })?;
        let own = tree::read(&host.mounted(&reference)?)?;
        let is_known =
            |found: &Difference| known.iter().any(|(path, what)| found.path.as_os_str() == *path && found.what == *what);
        let (expected, wrong): (Vec<_>, Vec<_>) = tree::differences(&own, &other).into_iter().partition(is_known);
        let list = wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{format}, ours against umoci's:\n{list}");
        assert_eq!(expected.len(), known.len(), "{format}: what umoci is known to do otherwise, it no longer does");
    }
    Ok(())
}

#[test]
fn a_small_system_is_what_umoci_makes_of_it() -> Result<()> {
    check(&web::image("1")?, &[], &[])
}

#[test]
fn every_kind_of_entry_is_what_umoci_makes_of_it() -> Result<()> {
    // By the hour at which it was unpacked, where no layer says when: in folders that no layer describes, and in those in which
    // one of these was made. The root's own, if a later layer puts something there without describing it. The OCI image spec
    // (layer.md) leaves it open; ours are the same on every host.
    let folders = format!("long/{}", "folder".repeat(20));
    let known = ["", "absent", "long", &folders].map(|path| (path, "time"));
    // A file of the layer below keeps its count of names there when the other name is replaced above: overlayfs shows it as it is,
    // for every engine.
    check(&kinds::image(Compression::Gzip)?, &known, &[("twin-2", "names")])
}
