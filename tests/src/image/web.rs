//! The image of the quickstart and of most tests: busybox's httpd and one page that says who serves it.
//!
//! What the page shows can each be changed by a different edit of the document: the version (the image's tag), the
//! greeting and the port (the environment), and the host.

use anyhow::Result;

use super::{Compression, Image, ImageBuilder, Layer, busybox, noise};

/// Pid 1 of the container. A shell with a trap, because httpd has no handler for SIGTERM, and pid 1 ignores what it
/// has no handler for.
const SERVE: &str = r#"#!/bin/sh
trap 'echo "web stops"; exit 0' TERM INT
echo "web $VERSION: on $LISTEN"
httpd -f -v -p "$LISTEN" -h /www &
wait $!
code=$?
echo "web: httpd ended with $code" >&2
exit $code
"#;

/// The page. A program, because what it shows is known only where it runs.
const PAGE: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$GREETING from web $VERSION on $(hostname)"
"#;

/// The image of one version; versions share the busybox layer, so going from one to the next pulls very little.
///
/// `GET /` gives one line, `GREETING from web VERSION on HOSTNAME`; `GET /healthz` gives `ok`. The defaults of the
/// environment are `GREETING=Hello` and `LISTEN=8080`, `[address:]port`.
pub fn image(version: &str) -> Result<Image> {
    builder(version)?.build()
}

/// The same with one more layer of so many MiB that nothing makes smaller; the same number gives the same layer.
pub fn large(version: &str, mib: usize, number: u64) -> Result<Image> {
    let layer = Layer::default().dir("srv", 0o755)?.file("srv/noise", 0o644, &noise(mib * 1024 * 1024, number))?;
    builder(version)?.layer(layer)?.compression(Compression::Plain).build()
}

/// What becomes [`image`], for images that are to be a little more than that.
pub fn builder(version: &str) -> Result<ImageBuilder> {
    let site = Layer::default()
        .file("bin/serve", 0o755, SERVE.as_bytes())?
        .dir("www", 0o755)?
        .file("www/healthz", 0o644, b"ok\n")?
        .file("www/version", 0o644, format!("{version}\n").as_bytes())?
        .dir("www/cgi-bin", 0o755)?
        .file("www/cgi-bin/index.cgi", 0o755, PAGE.as_bytes())?;
    let builder = ImageBuilder::default().layer(busybox()?)?.layer(site)?.command(&["/bin/serve"]);
    Ok(builder.env("PATH", "/bin").env("VERSION", version).env("GREETING", "Hello").env("LISTEN", "8080"))
}
