//! Images of archives, made in an image centre of a temporary folder, on bases of a registry made of tables.

use super::*;
use coord_centre::{Centre, CentreConfig, Reference};
use coord_registry::fake::{FakeLayer, FakeRegistry};
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::{Digest, Repository};
use coord_shared::recipe;
use coord_shared::wire::ImageMade;
use coord_store::MemoryStore;
use coord_tar::{END_BYTES, Entry, Kind, padding, write_header};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    centre: Centre,
    assembler: Assembler,
    upstream: FakeRegistry,
}

impl Fixture {
    async fn new() -> Fixture {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let centre = Centre::open(&CentreConfig::new(folder.path().join("centre")), Arc::new(MemoryStore::default())).unwrap();
        let upstream = FakeRegistry::start().await.unwrap();
        let plain = RegistryConfig { prefix: upstream.host(), insecure: true, ..RegistryConfig::default() };
        let registry = Registry::new(vec![plain], []).unwrap();
        let assembler = Assembler::new(centre.clone(), move || registry.clone(), folder.path().to_owned());
        Fixture { folder, centre, assembler, upstream }
    }

    fn assembly(&self, recipe: &str, files: &[(&str, &str)]) -> Assembly {
        let archive = self.folder.path().join("app.tar");
        std::fs::write(&archive, tar(files)).unwrap();
        let recipe = recipe::parse(&recipe.replace("REGISTRY", &self.upstream.host())).unwrap();
        Assembly {
            archive,
            recipe,
            repository: shop(),
            tags: vec!["latest".to_owned(), "v1".to_owned()],
            at: Timestamp::from_second(1_700_000_000).unwrap(),
            source: Some("https://git.lan/shop.git".to_owned()),
            commit: Some("a1".repeat(20).parse().unwrap()),
            run: Some("shop.12".parse().unwrap()),
            who: "push".to_owned(),
        }
    }

    async fn made(&self, recipe: &str, files: &[(&str, &str)]) -> (ImageMade, Value, Value) {
        let made = self.assembler.assemble(self.assembly(recipe, files)).await.unwrap();
        let manifest = self.centre.manifest(&made.repository, &made.digest).await.unwrap().unwrap();
        let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let config = self.blob(&made.repository, manifest["config"]["digest"].as_str().unwrap()).await;
        (made, manifest, serde_json::from_slice(&config).unwrap())
    }

    async fn blob(&self, repository: &Repository, digest: &str) -> Vec<u8> {
        let stream = self.centre.read_blob(repository, &digest.parse().unwrap(), 0, None).await.unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    async fn tag(&self, tag: &str) -> Option<Digest> {
        let reference: Reference = tag.parse().unwrap();
        self.centre.resolve(&shop(), &reference).await.unwrap().map(|found| found.digest)
    }

    /// A base that has `/usr/lib`, and `/lib` leading there. The digests of its manifest and of its layer.
    fn serve_base(&self, repository: &str, architecture: &str) -> (Digest, Digest) {
        let mut layer = Vec::new();
        for (path, kind, link) in
            [("usr", Kind::Directory, ""), ("usr/lib", Kind::Directory, ""), ("lib", Kind::Symlink, "usr/lib")]
        {
            let entry = Entry { path: path.into(), kind, link: link.into(), mode: 0o755, ..Entry::default() };
            write_header(&mut layer, &entry).unwrap();
        }
        layer.resize(layer.len() + END_BYTES, 0);
        let layer = FakeLayer { diff_id: Digest::of(&layer), blob: layer.into() };
        let of_layer = layer.diff_id.clone();
        (self.upstream.put_image(repository, "12", architecture, &[layer]), of_layer)
    }

    async fn check_refused(&self, assembly: Assembly, expect: &str) {
        let before = self.tag("latest").await;
        let error = self.assembler.assemble(assembly).await.unwrap_err();
        let said = coord_registry::chain(&error).replace(&self.upstream.host(), "REGISTRY");
        assert!(said.contains(expect), "{said}");
        assert_eq!(self.tag("latest").await, before);
    }
}

fn shop() -> Repository {
    "team/shop".parse().unwrap()
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, content) in files {
        let size = content.len() as u64;
        write_header(&mut tar, &Entry { path: (*path).into(), mode: 0o755, size, ..Entry::default() }).unwrap();
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len() + padding(size), 0);
    }
    tar.resize(tar.len() + END_BYTES, 0);
    tar
}

const FILES: &[(&str, &str)] = &[("shop", "#!/bin/sh\n"), ("lib/x", "x")];

#[tokio::test]
async fn an_image_from_nothing_says_all_that_the_recipe_does() {
    let fixture = Fixture::new().await;
    let recipe = r#"
entrypoint = ["/app/shop"]
command = ["serve"]
environment = { B = "2", A = "1" }
working_dir = "/app"
user = "1000:1000"
expose = ["8080", "53/udp"]
volumes = ["/data"]
labels = { team = "shop" }
stop_signal = "SIGINT"
platform = "linux/arm64/v8"
[healthcheck]
test = ["CMD", "/app/shop", "check"]
interval = "5s"
"#;
    let (made, manifest, config) = fixture.made(recipe, FILES).await;
    let about = json!({
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.source": "https://git.lan/shop.git",
        "org.opencontainers.image.revision": "a1".repeat(20),
    });
    assert_eq!(manifest["annotations"], about);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let mut labels = about.clone();
    labels["team"] = json!("shop");
    let expect = json!({
        "Entrypoint": ["/app/shop"], "Cmd": ["serve"], "Env": ["A=1", "B=2"], "WorkingDir": "/app", "User": "1000:1000",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}}, "Labels": labels, "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "/app/shop", "check"], "Interval": 5_000_000_000_u64},
    });
    assert_eq!(config["config"], expect);
    let platform = ["os", "architecture", "variant", "created"].map(|key| config[key].as_str().unwrap());
    assert_eq!(platform, ["linux", "arm64", "v8", "2023-11-14T22:13:20Z"]);
    assert_eq!(config["history"].as_array().unwrap().len(), 1);
    // Pinned: another digest here would be another digest for every image that anybody has made.
    assert_eq!(made.digest.to_string(), "sha256:cb6c3f28cf13c98a2afbf24c23b9a4641b68050594052d1cdc312f2cdfb2911d");
}

#[tokio::test]
async fn the_same_input_is_the_same_image_and_tags_move_to_it() {
    let fixture = Fixture::new().await;
    let (first, ..) = fixture.made("", FILES).await;
    let (again, ..) = fixture.made("", FILES).await;
    assert_eq!(first, again);
    assert_eq!((fixture.tag("latest").await, fixture.tag("v1").await), (Some(first.digest.clone()), Some(first.digest.clone())));
    let (other, ..) = fixture.made("", &[("shop", "another")]).await;
    assert_ne!(other.digest, first.digest);
    assert_eq!(fixture.tag("latest").await, Some(other.digest));
    assert!(fixture.centre.manifest(&shop(), &first.digest).await.unwrap().is_some());
}

#[tokio::test]
async fn who_made_it_of_what_refers_to_the_image() {
    let fixture = Fixture::new().await;
    let (made, ..) = fixture.made("", FILES).await;
    fixture.made("", FILES).await;
    let referrers = fixture.centre.referrers(&shop(), &made.digest, None, None).await.unwrap().entries;
    assert_eq!(referrers.len(), 1, "made twice, said once");
    assert_eq!(referrers[0].artifact_type.as_deref(), Some("application/vnd.coord.provenance.v1+json"));
    let manifest = fixture.centre.manifest(&shop(), &referrers[0].digest).await.unwrap().unwrap();
    let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let record = fixture.blob(&shop(), manifest["layers"][0]["digest"].as_str().unwrap()).await;
    let record: Value = serde_json::from_slice(&record).unwrap();
    let told = ["who", "run", "commit", "image"].map(|key| record[key].as_str().unwrap().to_owned());
    assert_eq!(told, ["push".to_owned(), "shop.12".to_owned(), "a1".repeat(20), made.digest.to_string()]);
    assert_eq!(record["archive"]["digest"], json!(Digest::of(&tar(FILES))));
}

#[tokio::test]
async fn on_a_base_of_a_registry_the_image_is_whole_in_the_centre() {
    let fixture = Fixture::new().await;
    let (base, _) = fixture.serve_base("debian", "amd64");
    let recipe = "base = \"REGISTRY/debian:12\"\ntarget = \"/lib/shop\"\nplatform = \"linux/amd64\"";
    let (made, manifest, config) = fixture.made(recipe, FILES).await;
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        let digest = layer["digest"].as_str().unwrap();
        assert_eq!(Digest::of(&fixture.blob(&shop(), digest).await).to_string(), digest);
    }
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    assert_eq!(config["config"]["Cmd"], json!(["true"]));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.digest"], json!(base));
    // The base's link is followed, and what it has stays.
    let own = fixture.blob(&shop(), layers[1]["digest"].as_str().unwrap()).await;
    let listed = String::from_utf8_lossy(&gunzip(&own)).into_owned();
    assert!(listed.contains("usr/lib/shop/shop") && !listed.starts_with("lib/"), "{listed}");
    // The registry may go: base and below are remembered or here.
    let requests = fixture.upstream.count("/blobs/");
    let (again, ..) = fixture.made(recipe, FILES).await;
    assert_eq!((again.digest, fixture.upstream.count("/blobs/")), (made.digest, requests + 1), "only the config is read again");
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

#[tokio::test]
async fn on_a_base_of_the_centre_layers_are_shared() {
    let fixture = Fixture::new().await;
    let (base, ..) =
        fixture.made("entrypoint = [\"/app/shop\"]\ncommand = [\"serve\"]\nenvironment = { A = \"1\", Z = \"9\" }", FILES).await;
    let recipe = "base = \"coord.internal/team/shop:v1\"\nentrypoint = [\"/app/other\"]\nenvironment = { A = \"2\", B = \"3\" }";
    let mut assembly = fixture.assembly(recipe, &[("other", "x")]);
    assembly.repository = "other".parse().unwrap();
    let made = fixture.assembler.assemble(assembly).await.unwrap();
    let manifest = fixture.centre.manifest(&made.repository, &made.digest).await.unwrap().unwrap();
    let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.name"], "coord.internal/team/shop:v1");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.digest"], json!(base.digest));
    let config = fixture.blob(&made.repository, manifest["config"]["digest"].as_str().unwrap()).await;
    let config: Value = serde_json::from_slice(&config).unwrap();
    // A new entrypoint forgets the base's command; variables keep their places.
    assert_eq!(config["config"]["Entrypoint"], json!(["/app/other"]));
    assert_eq!(config["config"].get("Cmd"), None);
    assert_eq!(config["config"]["Env"], json!(["A=2", "Z=9", "B=3"]));
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_a_base_is_named_with_its_cure() {
    let fixture = Fixture::new().await;
    let assembly = |recipe: &str| fixture.assembly(recipe, FILES);
    let missing = "cannot get the base image REGISTRY/gone:1: image REGISTRY/gone:1: the registry has no such thing";
    fixture.check_refused(assembly("base = \"REGISTRY/gone:1\""), missing).await;
    let missing =
        "cannot build on the base image coord.internal/gone:1: the image centre has no such image; push it, or correct `base`";
    fixture.check_refused(assembly("base = \"coord.internal/gone:1\""), missing).await;
    fixture.serve_base("arm", "arm64");
    let wrong = "it is for linux/arm64, not for linux/amd64; choose another base, or set `platform`";
    fixture.check_refused(assembly("base = \"REGISTRY/arm:12\"\nplatform = \"linux/amd64\""), wrong).await;
    let windows =
        Assembly { recipe: recipe::Recipe { platform: Some("windows/amd64".to_owned()), ..assembly("").recipe }, ..assembly("") };
    fixture.check_refused(windows, "only Linux runs here").await;
}

#[tokio::test]
async fn a_hostile_archive_or_a_wrong_tag_moves_no_tag() {
    let fixture = Fixture::new().await;
    fixture.made("", FILES).await;
    fixture.check_refused(fixture.assembly("", &[("../../etc/passwd", "root")]), "has \"..\" in its path").await;
    let tagged = Assembly { tags: vec!["v1".to_owned(), "not a tag".to_owned()], ..fixture.assembly("", FILES) };
    fixture.check_refused(tagged, "\"not a tag\" is not a tag").await;
    let gone = Assembly { archive: fixture.folder.path().join("gone"), ..fixture.assembly("", FILES) };
    fixture.check_refused(gone, "cannot open the archive").await;
}

#[tokio::test]
async fn a_base_whose_connection_breaks_is_copied_to_its_end() {
    let fixture = Fixture::new().await;
    let (_, layer) = fixture.serve_base("debian", "amd64");
    fixture.upstream.fault(layer.as_str(), coord_registry::fake::Fault::Cut(300), 2);
    // The first blob that is asked for is the config.
    fixture.upstream.fault("/blobs/", coord_registry::fake::Fault::Cut(20), 1);
    let made =
        fixture.assembler.assemble(fixture.assembly("base = \"REGISTRY/debian:12\"\nplatform = \"linux/amd64\"", FILES)).await;
    assert!(made.is_ok(), "{made:?}");
}
