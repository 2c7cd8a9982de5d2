//! The image centre under fire: killed in the middle of uploads, full, and with its blobs in an object store.

use std::io::Write as _;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use coord_tests::faulty::{Fault, FaultyRegistry, Target};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::http;
use coord_tests::image::{Compression, Image, ImageBuilder, Layer, noise, sha256, web};
use coord_tests::process::describe;
use coord_tests::registry::TestRegistry;
use coord_tests::s3::S3Server;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// An image of layers that nothing makes smaller.
fn large(layers: u64, mib: usize) -> Result<Image> {
    let mut builder = ImageBuilder::default().compression(Compression::Plain);
    for number in 0..layers {
        let layer = Layer::default().file(&format!("srv/{number}"), 0o644, &noise(mib * MIB, number + 1))?;
        builder = builder.layer(layer)?;
    }
    builder.build()
}

/// What `skopeo copy` needs to say between a layout and a coordinator on loopback.
fn skopeo(fleet: &Fleet, from: &str, to: &str) -> Result<std::process::Command> {
    let credentials = format!("admin:{}", fleet.admin_token()?);
    let side = if to.starts_with("docker:") { "dest" } else { "src" };
    let (tls, creds) = (format!("--{side}-tls-verify=false"), format!("--{side}-creds={credentials}"));
    let line = ["skopeo", "copy", "-q", "--preserve-digests", "--retry-times", "20", &tls, &creds, from, to];
    Ok(fleet.place().command(&line))
}

fn run(mut command: std::process::Command) -> Result<Output> {
    command.output().context("run skopeo; tests/setup.sh installs it")
}

/// Everything of a tag comes back as it was made.
fn is_whole(fleet: &Fleet, name: &str, image: &Image) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let back = dir.path().join("back");
    let output = run(skopeo(fleet, &format!("docker://{}/{name}", fleet.centre()), &format!("oci:{}", back.display()))?)?;
    ensure!(output.status.success(), "pull {name}: {}", describe(&output));
    for blob in image.blobs().chain([&image.manifest]) {
        let bytes = std::fs::read(back.join("blobs/sha256").join(blob.digest.trim_start_matches("sha256:")))?;
        ensure!(sha256(&bytes) == blob.digest, "{name}: {} came back otherwise", blob.digest);
    }
    Ok(())
}

fn saved(image: &Image) -> Result<(TempDir, String)> {
    let dir = tempfile::tempdir()?;
    let layout = dir.path().join("layout");
    image.save(&layout)?;
    let from = format!("oci:{}", layout.display());
    Ok((dir, from))
}

#[test]
fn an_upload_goes_on_where_a_kill_has_cut_it() -> Result<()> {
    let mut fleet = Plan::processes(0).start()?;
    let bearer = format!("Bearer {}", fleet.admin_token()?);
    let url = fleet.url().to_owned();
    let ask = |method: &str, path: &str, more: &[(&str, &str)], body: &[u8]| {
        let at = if path.starts_with("http") { path.to_owned() } else { format!("{url}{path}") };
        http::request(method, &at, &[&[("Authorization", bearer.as_str())], more].concat(), body)
    };
    let bytes = noise(6 * MIB, 7);
    let digest = sha256(&bytes);
    let opened = ask("POST", "/v2/big/blobs/uploads/", &[], &[])?;
    assert_eq!(opened.status, 202, "{}", opened.text());
    let mut location = opened.headers.get("location").context("a location")?.to_owned();

    // Killed right after it was opened; in the middle of a piece; and between the last piece and the end.
    fleet.kill_coordinator()?;
    fleet.start_coordinator()?;
    let piece = ask("PATCH", &location, &[("Content-Range", &format!("0-{}", 2 * MIB - 1))], &bytes[..2 * MIB])?;
    assert_eq!(piece.status, 202, "{}", piece.text());
    location = piece.headers.get("location").context("a location")?.to_owned();
    let path = http::Url::parse(&format!("http://x{}", location.strip_prefix(&url).unwrap_or(&location)))?.path;
    let mut stream = http::connect(fleet.centre())?;
    let range = format!("{}-{}", 2 * MIB, 5 * MIB - 1);
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
        3 * MIB
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&bytes[2 * MIB..4 * MIB])?;
    fleet.kill_coordinator()?;
    fleet.start_coordinator()?;
    let status = ask("GET", &location, &[], &[])?;
    assert_eq!(status.status, 204, "{}", status.text());
    let (_, last) = status.headers.get("range").context("a range")?.split_once('-').context("0-LAST")?;
    let at = last.parse::<usize>()? + 1;
    ensure!((2 * MIB..=4 * MIB).contains(&at), "what was confirmed is there, and nothing that was not sent: {at}");
    let rest = ask("PATCH", &location, &[("Content-Range", &format!("{at}-{}", bytes.len() - 1))], &bytes[at..])?;
    assert_eq!(rest.status, 202, "{}", rest.text());
    location = rest.headers.get("location").context("a location")?.to_owned();
    fleet.kill_coordinator()?;
    fleet.start_coordinator()?;
    let sign = if location.contains('?') { '&' } else { '?' };
    let done = ask("PUT", &format!("{location}{sign}digest={digest}"), &[], &[])?;
    assert_eq!(done.status, 201, "{}", done.text());
    fleet.kill_coordinator()?;
    fleet.start_coordinator()?;
    let back = ask("GET", &format!("/v2/big/blobs/{digest}"), &[], &[])?;
    assert_eq!((back.status, sha256(&back.body)), (200, digest));
    Ok(())
}

#[test]
fn a_client_that_tries_again_succeeds_though_the_coordinator_is_killed() -> Result<()> {
    const KILLS: usize = 4;
    let mut fleet = Plan::processes(0).start()?;
    let image = large(3, 24)?;
    let (_dir, from) = saved(&image)?;
    let mut cut = 0;
    for number in 0..KILLS {
        let to = format!("docker://{}/big{number}:1", fleet.centre());
        let mut push = skopeo(&fleet, &from, &to)?.stderr(std::process::Stdio::piped()).spawn()?;
        // At another moment of the push each time: when that many bytes more have come.
        let start = stored(&fleet)?;
        let enough = start + (number as u64 + 1) * 12 * MIB as u64;
        let _ = coord_tests::wait::wait_until(coord_tests::fleet::FLEET_LIMIT, "some of it has come", || {
            push.try_wait().is_ok_and(|ended| ended.is_some()) || stored(&fleet).is_ok_and(|bytes| bytes >= enough)
        });
        cut += usize::from(push.try_wait()?.is_none());
        fleet.kill_coordinator()?;
        fleet.start_coordinator()?;
        // Some errors it tries again by itself, some are for whoever started it.
        if !push.wait_with_output()?.status.success() {
            let output = run(skopeo(&fleet, &from, &to)?)?;
            ensure!(output.status.success(), "push {number}: {}", describe(&output));
        }
    }
    ensure!(cut >= 1, "no push was cut");
    for number in 0..KILLS {
        is_whole(&fleet, &format!("big{number}:1"), &image)?;
    }
    Ok(())
}

/// Bytes below the centre's folder.
fn stored(fleet: &Fleet) -> Result<u64> {
    let output = coord_tests::images::other(&["du", "-sb", &fleet.coordinator_folder().join("centre").to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).with_context(|| format!("du says {text:?}"))
}

#[test]
fn a_full_centre_says_so_and_keeps_what_it_has() -> Result<()> {
    let fleet = Plan::processes(0).coordinator("\n[centre]\nquota = \"8MiB\"\n").start()?;
    let (fits, too_large) = (large(1, 5)?, large(2, 4)?);
    let (_dir, from) = saved(&fits)?;
    let output = run(skopeo(&fleet, &from, &format!("docker://{}/fits:1", fleet.centre()))?)?;
    ensure!(output.status.success(), "{}", describe(&output));
    let (_dir, from) = saved(&too_large)?;
    let mut refused = fleet.place().command(&[
        "skopeo",
        "copy",
        "-q",
        "--dest-tls-verify=false",
        &format!("--dest-creds=admin:{}", fleet.admin_token()?),
        &from,
        &format!("docker://{}/large:1", fleet.centre()),
    ]);
    let output = refused.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success() && said.contains("quota"), "{}", describe(&output));
    is_whole(&fleet, "fits:1", &fits)
}

#[test]
fn blobs_may_lie_in_an_object_store() -> Result<()> {
    let s3 = S3Server::start()?;
    let mut fleet = Plan::processes(1).coordinator(&s3.to_toml()).start()?;
    let image = large(2, 9)?;
    let (_dir, from) = saved(&image)?;
    let output = run(skopeo(&fleet, &from, &format!("docker://{}/big:1", fleet.centre()))?)?;
    ensure!(output.status.success(), "{}", describe(&output));
    let objects = s3.objects()?.join(" ");
    for blob in image.blobs() {
        let hex = blob.digest.trim_start_matches("sha256:");
        ensure!(objects.contains(hex), "{hex} is not among {objects}");
    }
    fleet.kill_coordinator()?;
    fleet.start_coordinator()?;
    is_whole(&fleet, "big:1", &image)?;
    let pulled = fleet.image(0, &["pull", "coord.internal/big:1"])?;
    ensure!(pulled.status.success(), "{}", describe(&pulled));
    // Part of a layer comes from the store as part.
    let layer = &image.layers[0];
    let bearer = format!("Authorization: Bearer {}", fleet.admin_token()?);
    let path = format!("/v2/big/blobs/{}", layer.digest);
    let part = fleet.request("GET", &path, &[&bearer, "Range: bytes=1000-1999"], None)?;
    assert_eq!((part.status, part.body.as_slice()), (206, &layer.bytes[1000..2000]));
    Ok(())
}

#[test]
fn a_fleet_pulls_from_another_registry_once() -> Result<()> {
    let registry = TestRegistry::start()?;
    let image = web::image("1")?;
    registry.push(&image, "demo/web", "1")?;
    let upstream = FaultyRegistry::start(registry.authority())?;
    let through = format!("\n[[centre.through]]\nprefix = \"up\"\nupstream = {:?}\n", upstream.authority());
    let mut fleet = Plan::processes(3).registry(upstream.authority()).coordinator(&through).start()?;
    fleet.write_document("web", "image = \"coord.internal/up/demo/web:1\"\nhosts = [\"h*\"]\nnetwork = \"none\"\n")?;
    fleet.wait_ready("web", &["h0", "h1", "h2"])?;
    let requests = upstream.requests();
    for blob in image.blobs() {
        let asked = requests.iter().filter(|request| request.contains(&blob.digest)).count();
        ensure!(asked == 1, "{} was asked for {asked} times: {requests:#?}", blob.digest);
    }
    // What is kept is served while the original is away, to a host that comes later, too.
    upstream.set(Target::All, Fault::HungUp);
    fleet.add_agent("h3".to_owned(), Vec::new())?;
    fleet.wait_ready("web", &["h0", "h1", "h2", "h3"])?;
    let (_dir, from) = saved(&image)?;
    let push = format!("docker://{}/up/demo/web:mine", fleet.centre());
    let pushed = fleet.place().run(&[
        "skopeo",
        "copy",
        "-q",
        "--dest-tls-verify=false",
        &format!("--dest-creds=admin:{}", fleet.admin_token()?),
        &from,
        &push,
    ])?;
    ensure!(!pushed.status.success(), "nobody pushes where copies are");
    Ok(())
}
