//! Images in every shape that builders and registries give them, each down to a process that tells what it found.

use anyhow::{Context, Result, ensure};
use coord_tests::config::Images;
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan};
use coord_tests::image::{Compression, Image, ImageBuilder, Layer, busybox, web};
use coord_tests::images::Host;
use coord_tests::registry::{TestRegistry, push_index};
use coord_tests::wait::wait_until;
use serde_json::{Value, json};

/// As many as overlayfs, and Docker, can stack.
const LAYERS_MAX: usize = 127;
/// Tells who it is and where, and what the layers say; then waits to be ended.
const TELL: &str = r#"trap 'echo "ended by USR1"; exit 0' USR1
echo "user=$(id -u):$(id -g) dir=$(pwd) says=$(cat /says)"
sleep 1000 & wait"#;

/// A small system that tells `says`.
fn teller(says: &str) -> Result<ImageBuilder> {
    let layer = Layer::default().file("says", 0o644, says.as_bytes())?;
    Ok(ImageBuilder::default().layer(busybox()?)?.layer(layer)?.command(&["/bin/sh", "-c", TELL]).env("PATH", "/bin"))
}

/// As Docker writes a config: what is not set is null, and the history is there.
fn as_docker(says: &str) -> Result<ImageBuilder> {
    let nulls = ["Volumes", "ExposedPorts", "Entrypoint", "OnBuild", "Labels", "Shell"];
    let builder = nulls.into_iter().fold(teller(says)?.docker().history(), |builder, key| builder.with(key, Value::Null));
    Ok(builder.with("Image", json!("")).with("Tty", json!(false)).beside("created", json!("2024-05-06T07:08:09.123456789Z")))
}

fn many_layers() -> Result<ImageBuilder> {
    (2..LAYERS_MAX).try_fold(teller("0")?, |builder, number| {
        let layer = Layer::default().file("says", 0o644, number.to_string().as_bytes())?;
        builder.layer(layer.file(&format!("layer-{number}"), 0o644, b"")?)
    })
}

/// Three times the same layer with nothing in it, one of them on top.
fn empty_layers() -> Result<ImageBuilder> {
    let builder = teller("empty")?.layer(Layer::default())?.layer(Layer::default())?;
    builder.layer(Layer::default().file("says", 0o644, b"between")?)?.layer(Layer::default())
}

/// Each with the end of what it must tell.
fn shapes() -> Result<Vec<(&'static str, Image, &'static str)>> {
    let shape = |name, builder: ImageBuilder, tells| Ok((name, builder.build()?, tells));
    [
        shape("oci-gzip", teller("gzip")?.history(), "user=0:0 dir=/ says=gzip"),
        shape("oci-zstd", teller("zstd")?.compression(Compression::Zstd), "user=0:0 dir=/ says=zstd"),
        shape("oci-plain", teller("plain")?.compression(Compression::Plain), "user=0:0 dir=/ says=plain"),
        shape("docker", as_docker("docker")?, "user=0:0 dir=/ says=docker"),
        shape("many-layers", many_layers()?, "says=126"),
        shape("empty-layers", empty_layers()?, "says=between"),
        shape("user-name", teller("name")?.user("app"), "user=1000:1000 dir=/ says=name"),
        shape("user-group", teller("group")?.user("app:root"), "user=1000:0 dir=/ says=group"),
        shape("user-number", teller("number")?.user("4242:4243"), "user=4242:4243 dir=/ says=number"),
        shape("no-folder", teller("folder")?.working_dir("/not/there/yet"), "user=0:0 dir=/not/there/yet says=folder"),
        shape("volumes", teller("volumes")?.with("Volumes", json!({ "/data": {} })), "user=0:0 dir=/ says=volumes"),
    ]
    .into_iter()
    .collect()
}

fn publish(fleet: &Fleet, registry: &TestRegistry, name: &str) -> Result<()> {
    let image = registry.reference("shapes", name);
    fleet.write_document(name, &format!("image = {image:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n"))
}

fn wait_told(fleet: &Fleet, name: &str, end: &str) -> Result<()> {
    let lines = || fleet.log_lines(0, &format!("{name}.0")).unwrap_or_default();
    let told = wait_until(FLEET_LIMIT, &format!("{name} tells {end:?}"), || lines().iter().any(|line| line.m.ends_with(end)));
    told.with_context(|| format!("{name} told {:?}", lines()))
}

#[test]
fn every_shape_runs() -> Result<()> {
    let (shapes, registry) = (shapes()?, TestRegistry::start()?);
    for (name, image, _) in &shapes {
        registry.push(image, "shapes", name)?;
    }
    // Of several platforms, ours is not the first; what is for nobody (an attestation) is in between.
    let foreign = teller("foreign")?.platform("s390x", "").build()?;
    let nobody = ImageBuilder::default().platform("unknown", "").build()?;
    for (name, own) in [("index", teller("index")?), ("docker-list", as_docker("list")?)] {
        push_index(registry.authority(), &[foreign.clone(), nobody.clone(), own.build()?], "shapes", name)?;
    }
    let tells = shapes.iter().map(|(name, _, tells)| (*name, *tells));
    let tells: Vec<(&str, &str)> = tells.chain([("index", "says=index"), ("docker-list", "says=list")]).collect();
    for format in ["auto", "directories"] {
        let plan = Plan::processes(1).registry(registry.authority());
        let fleet = plan.images(Images { format: Some(format), ..Images::default() }).start()?;
        for (name, _) in &tells {
            publish(&fleet, &registry, name)?;
        }
        for (name, tells) in &tells {
            wait_told(&fleet, name, tells).with_context(|| format!("format {format}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_images_stop_signal_is_sent() -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    let image = teller("signal")?.with("StopSignal", json!("SIGUSR1")).build()?;
    fleet.registry.push(&image, "shapes", "signal")?;
    publish(&fleet, &fleet.registry, "signal")?;
    wait_told(&fleet, "signal", "says=signal")?;
    fleet.delete_document("signal")?;
    wait_told(&fleet, "signal", "ended by USR1")
}

#[test]
fn an_image_without_layers_is_an_empty_folder_and_tells_what_it_knows() -> Result<()> {
    let registry = TestRegistry::start()?;
    let image = ImageBuilder::default()
        .annotation("org.opencontainers.image.source", "https://example.org/source")
        .with("Healthcheck", json!({ "Test": ["CMD", "true"], "Interval": 30_000_000_000_u64, "Retries": 3 }))
        .build()?;
    let reference = registry.push(&image, "shapes", "nothing")?;
    for format in ["auto", "directories"] {
        let host = Host::new(registry.authority(), Images { format: Some(format), ..Images::default() })?;
        let root = host.mounted(&reference)?;
        ensure!(std::fs::read_dir(root)?.next().is_none(), "{format}: nothing has files");
        let told: Value = serde_json::from_str(&host.ok(&["inspect", &reference, "-o", "json"])?)?;
        ensure!(told["annotations"]["org.opencontainers.image.source"] == "https://example.org/source", "{format}: {told}");
        ensure!(told["healthcheck"]["interval_s"] == 30.0 && told["healthcheck"]["retries"] == 3, "{format}: {told}");
    }
    Ok(())
}

#[test]
fn a_variant_is_chosen_as_the_machine_can_run_it() -> Result<()> {
    let registry = TestRegistry::start()?;
    let own = web::image("own")?;
    let other = teller("other")?.platform("arm", "v7").build()?;
    push_index(registry.authority(), &[other, own.clone()], "shapes", "variants")?;
    let host = Host::new(registry.authority(), Images::default())?;
    let root = host.mounted(&registry.reference("shapes", "variants"))?;
    ensure!(std::fs::read_to_string(root.join("www/version"))? == "own\n");
    Ok(())
}
