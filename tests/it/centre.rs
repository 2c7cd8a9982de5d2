//! The image centre and other people's clients: what they push comes back the same, and only who may, does.

use anyhow::{Context, Result, ensure};
use coord_tests::clients::{Clients, layout_digest};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::image::entry::{Kind, entry};
use coord_tests::image::{Compression, Image, ImageBuilder, Layer, noise, web};
use coord_tests::process::describe;

/// Files of an image with many: what a folder of dependencies has.
const FILES: usize = 60_000;

/// A new token of the centre: `coordctl tokens add NAME ARGS`.
fn token(fleet: &Fleet, name: &str, args: &[&str]) -> Result<String> {
    let output = fleet.coordctl(&[&["tokens", "add", name], args].concat())?;
    ensure!(output.status.success(), "coordctl tokens add {name}: {}", describe(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = said.split_whitespace().find(|word| word.starts_with("coord-"));
    Ok(found.with_context(|| format!("no token in {said:?}"))?.to_owned())
}

/// An OCI layout of an image, for clients to push from.
fn layout(clients: &Clients, image: &Image, name: &str) -> Result<String> {
    let path = clients.path(name);
    image.save(&path)?;
    Ok(format!("oci:{}", path.display()))
}

/// What a repository's tag stands for, and the image's configuration, as skopeo sees both.
fn seen(clients: &Clients, name: &str) -> Result<(String, String)> {
    let name = format!("docker://{}", clients.name(name));
    let manifest = clients.ok(&["skopeo", "inspect", "--raw", &name])?;
    let config = serde_json::from_str::<serde_json::Value>(&manifest)?["config"]["digest"].as_str().map(str::to_owned);
    Ok((coord_tests::image::sha256(manifest.as_bytes()), config.context("a manifest without a config")?))
}

#[test]
fn every_client_gets_back_what_it_pushed() -> Result<()> {
    let fleet = Plan::hosts(1).start()?;
    let mut clients = Clients::of(&fleet)?;
    let password = token(&fleet, "ci", &["--push", "team/*"])?;
    for program in ["skopeo", "podman", "buildah"] {
        let login = clients.login(program, "ci", &password)?;
        ensure!(login.status.success(), "{program} login: {}", describe(&login));
    }
    let image = web::image("1")?;
    let from = layout(&clients, &image, "web")?;

    let by_skopeo = format!("docker://{}", clients.name("team/skopeo:1"));
    clients.ok(&["skopeo", "copy", "-q", &from, &by_skopeo])?;
    clients.ok(&["skopeo", "copy", "-q", &by_skopeo, &format!("oci:{}", clients.path("back").display())])?;
    assert_eq!(layout_digest(&clients.path("back"))?, image.manifest.digest);

    for program in ["podman", "buildah"] {
        let name = clients.name(&format!("team/{program}:1"));
        let digest_file = clients.path(&format!("{program}.digest")).to_string_lossy().into_owned();
        clients.ok(&[program, "pull", "-q", &clients.name("team/skopeo:1")])?;
        clients.ok(&[program, "push", "-q", "--digestfile", &digest_file, &clients.name("team/skopeo:1"), &name])?;
        let (manifest, config) = seen(&clients, &format!("team/{program}:1"))?;
        assert_eq!((std::fs::read_to_string(&digest_file)?, &config), (manifest, &image.config.digest), "{program}");
        clients.ok(&[program, "rmi", "-a", "-f"])?;
        clients.ok(&[program, "pull", "-q", &name])?;
    }

    clients.start_docker()?;
    let login = clients.login("docker", "ci", &password)?;
    ensure!(login.status.success(), "docker login: {}", describe(&login));
    let by_docker = clients.name("team/docker:1");
    clients.ok(&["docker", "pull", "-q", &clients.name("team/skopeo:1")])?;
    clients.ok(&["docker", "tag", &clients.name("team/skopeo:1"), &by_docker])?;
    let said = clients.ok(&["docker", "push", &by_docker])?;
    let (manifest, config) = seen(&clients, "team/docker:1")?;
    assert!(said.contains(&format!("digest: {manifest}")), "{said}");
    assert_eq!(config, image.config.digest);
    clients.ok(&["docker", "rmi", "-f", &image.config.digest])?;
    assert!(clients.ok(&["docker", "pull", &by_docker])?.contains(&manifest));

    // And a host of the fleet, which needs no login of its own.
    fleet.write_document("web", "image = \"coord.internal/team/docker:1\"\nhosts = [\"h0\"]\nnetwork = \"host\"\n")?;
    fleet.wait_ready("web", &["h0"])?;
    Ok(())
}

#[test]
fn platforms_and_many_files_come_back_the_same() -> Result<()> {
    let fleet = Plan::hosts(1).start()?;
    let clients = Clients::of(&fleet)?;
    let login = clients.login("skopeo", "admin", &fleet.admin_token()?)?;
    ensure!(login.status.success(), "{}", describe(&login));

    let many = (0..FILES).fold(Layer::default(), |layer, number| {
        let path = format!("srv/{:03}/{number:05}", number / 1000);
        layer.with(&entry(&path, 0o644, Kind::File(number.to_string().as_bytes())))
    });
    let many = ImageBuilder::default().layer(many)?.compression(Compression::Zstd).build()?;
    let from = layout(&clients, &many, "many")?;
    let to = format!("docker://{}", clients.name("many:1"));
    clients.ok(&["skopeo", "copy", "-q", "--preserve-digests", &from, &to])?;
    clients.ok(&["skopeo", "copy", "-q", &to, &format!("oci:{}", clients.path("many-back").display())])?;
    assert_eq!(layout_digest(&clients.path("many-back"))?, many.manifest.digest);
    let pulled = fleet.image(0, &["pull", "coord.internal/many:1"])?;
    ensure!(pulled.status.success(), "{}", describe(&pulled));

    let platform = |architecture: &str, variant: &str| {
        let layer = Layer::default().file("which", 0o644, architecture.as_bytes())?;
        ImageBuilder::default().layer(layer)?.platform(architecture, variant).build()
    };
    let images = [platform("amd64", "")?, platform("arm64", "v8")?, platform("s390x", "")?];
    let index = coord_tests::image::Index::of(&images)?;
    let path = clients.path("platforms");
    index.save(&images, &path)?;
    let to = format!("docker://{}", clients.name("platforms:1"));
    clients.ok(&["skopeo", "copy", "-q", "--all", "--preserve-digests", &format!("oci:{}", path.display()), &to])?;
    let back = clients.path("platforms-back");
    clients.ok(&["skopeo", "copy", "-q", "--all", "--preserve-digests", &to, &format!("oci:{}", back.display())])?;
    assert_eq!(layout_digest(&back)?, index.blob.digest);
    for image in &images {
        for blob in image.blobs().chain([&image.manifest]) {
            let file = back.join("blobs/sha256").join(blob.digest.trim_start_matches("sha256:"));
            assert_eq!(std::fs::read(&file)?, blob.bytes, "{}", blob.digest);
        }
    }
    Ok(())
}

#[test]
fn only_who_may_pulls_and_pushes() -> Result<()> {
    let fleet = Plan::hosts(1).start()?;
    let clients = Clients::of(&fleet)?;
    let pusher = token(&fleet, "ci", &["--push", "shop/*"])?;
    let puller = token(&fleet, "laptop", &["--pull", "shop/web"])?;
    let image = ImageBuilder::default().layer(Layer::default().file("x", 0o644, &noise(100_000, 1))?)?.build()?;
    let from = layout(&clients, &image, "image")?;
    let push = |secret: &str, name: &str| {
        let to = format!("docker://{}", clients.name(name));
        clients.run(&["skopeo", "copy", "-q", "--dest-creds", &format!("somebody:{secret}"), &from, &to])
    };
    let pull = |secret: &str, name: &str| {
        let name = format!("docker://{}", clients.name(name));
        clients.run(&["skopeo", "inspect", "--raw", "--creds", &format!("somebody:{secret}"), &name])
    };
    let succeeds = |what: &str, output: Result<std::process::Output>, expect: bool| -> Result<()> {
        let output = output?;
        ensure!(output.status.success() == expect, "{what}: {}", describe(&output));
        Ok(())
    };
    let (admin, agent) = (fleet.admin_token()?, fleet.agent(0).token().to_owned());
    succeeds("who may push, pushes", push(&pusher, "shop/web:1"), true)?;
    succeeds("but nowhere else", push(&pusher, "other/web:1"), false)?;
    succeeds("the admin pushes anywhere", push(&admin, "other/web:1"), true)?;
    succeeds("who may pull, does not push", push(&puller, "shop/web:2"), false)?;
    succeeds("who may pull, pulls", pull(&puller, "shop/web:1"), true)?;
    succeeds("but nothing else", pull(&puller, "other/web:1"), false)?;
    succeeds("an agent pulls anything", pull(&agent, "other/web:1"), true)?;
    succeeds("but pushes nothing", push(&agent, "other/web:2"), false)?;
    succeeds("a token that nobody has", pull("coord-registry-0000", "shop/web:1"), false)?;
    let nobody = fleet.request("GET", "/v2/", &[], None)?;
    assert_eq!(nobody.status, 401, "{}", nobody.text());
    assert!(nobody.text().contains("UNAUTHORIZED"), "{}", nobody.text());

    let wrong = clients.login("skopeo", "ci", "not-the-token")?;
    assert!(!wrong.status.success(), "{}", describe(&wrong));
    let output = fleet.coordctl(&["tokens", "rm", "laptop"])?;
    ensure!(output.status.success(), "{}", describe(&output));
    succeeds("a token that was ended is refused at once", pull(&puller, "shop/web:1"), false)
}
