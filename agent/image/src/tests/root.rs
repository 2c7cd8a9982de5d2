//! What only root can try: the kernel's overlayfs over our layers, and a real registry process.

use super::super::{FormatChoice, ImageStore, Limits, Options, Progress};
use super::disks::SmallDisk;
use super::pulls::{Bench, Mounts, options};
use super::tarball::Tarball;
use super::{chain, listing};
use coord_registry::fake::FakeLayer;
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::Digest;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Lowers stacked by the kernel, unmounted when dropped.
pub(super) struct Overlay {
    folder: TempDir,
}

impl Overlay {
    pub(super) fn of(lowers: &[PathBuf]) -> Overlay {
        let folder = TempDir::new().unwrap();
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let lowers: Vec<String> = lowers.iter().map(|path| path.display().to_string()).collect();
        let at = folder.path().display();
        let data =
            std::ffi::CString::new(format!("lowerdir={},upperdir={at}/upper,workdir={at}/work", lowers.join(":"))).unwrap();
        mount("overlay", folder.path().join("root"), "overlay", MountFlags::NODEV, Some(data.as_c_str()))
            .expect("these tests need root");
        Overlay { folder }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(self.root(), UnmountFlags::DETACH);
    }
}

fn base() -> Tarball {
    Tarball::new()
        .dir("./", 0o755)
        .dir("etc", 0o750)
        .file("etc/a", "a")
        .file("etc/b", "b")
        .dir("var", 0o755)
        .dir("var/cache", 0o755)
        .file("var/cache/x", "x")
        .dir("tmp", 0o1777)
        .file("gone", "gone")
}

/// As archives and as directories.
const FORMATS: [FormatChoice; 2] = [FormatChoice::Loop, FormatChoice::Directories];

/// Stacks layers, bottom first, in each format, and compares what the kernel shows.
async fn check(layers: &[Tarball], expect: &[&str]) {
    check_more(layers, expect, |_| {}).await;
}

/// The same; and looks closer at the root.
async fn check_more(layers: &[Tarball], expect: &[&str], look: impl Fn(&Path)) {
    let bench = Bench::new(FormatChoice::Auto).await;
    let layers: Vec<FakeLayer> = layers.iter().map(|layer| layer.clone().layer()).collect();
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    for format in FORMATS {
        let folder = TempDir::new().unwrap();
        let store = ImageStore::open_with(folder.path(), Options { format, ..options() }).unwrap();
        let pulled = store.pull(&bench.registry, &bench.image(), &digest, Arc::default()).await;
        pulled.unwrap_or_else(|error| panic!("{format:?}: {}", chain(&error)));
        let overlay = Overlay::of(&store.mount(&digest).unwrap_or_else(|error| panic!("{format:?}: {}", chain(&error))).lowers);
        assert_eq!(listing(&overlay.root()), expect, "{format:?}");
        look(&overlay.root());
        drop(overlay);
        store.prune(&BTreeSet::new()).unwrap();
    }
}

#[tokio::test]
async fn root_hard_links_lead_to_files_of_lower_layers() {
    let top = Tarball::new()
        .hard_link("sub/again", "etc/a")
        .hard_link("sub/more", "etc/a")
        .hard_link("x", "var/cache/x")
        .file(".wh.gone", "");
    let expect = [
        "d 750 etc",
        "f 644 etc/a \"a\"",
        "f 644 etc/b \"b\"",
        "d 755 sub",
        "f 644 sub/again \"a\"",
        "f 644 sub/more \"a\"",
        "d 1777 tmp",
        "d 755 var",
        "d 755 var/cache",
        "f 644 var/cache/x \"x\"",
        "f 644 x \"x\"",
    ];
    let inode = |path: PathBuf| path.symlink_metadata().unwrap().ino();
    check_more(&[base(), top.clone()], &expect, |root| {
        assert_eq!(inode(root.join("sub/again")), inode(root.join("sub/more")));
        assert_eq!(root.join("sub/again").metadata().unwrap().mtime(), 1_700_000_000);
        assert_eq!(root.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    })
    .await;
    // What it leads to may be gone from its old place, or be no plain file.
    let moved = Tarball::new().file("etc/.wh.a", "").file(".wh.var", "");
    let expect = [
        "d 750 etc",
        "f 644 etc/b \"b\"",
        "d 755 sub",
        "f 644 sub/again \"a\"",
        "f 644 sub/more \"a\"",
        "d 1777 tmp",
        "f 644 x \"x\"",
    ];
    check(&[base(), top, moved], &expect).await;
    let odd = Tarball::new().symlink("link", "elsewhere").file("empty", "").entry(b"pipe", b'6', 0o620, b"", b"");
    let links = Tarball::new().hard_link("a", "link").hard_link("b", "empty").hard_link("c", "pipe").hard_link("d", "empty");
    let expect =
        ["l a -> elsewhere", "f 644 b \"\"", "p 620 c", "f 644 d \"\"", "f 644 empty \"\"", "l link -> elsewhere", "p 620 pipe"];
    check(&[odd, links], &expect).await;
}

#[tokio::test]
async fn root_folders_below_show_their_times_and_attributes() {
    let described = Tarball::new().pax(&[("SCHILY.xattr.user.kept", b"yes")]).dir("srv", 0o2775).file("srv/a", "a");
    let top = Tarball::new().file("srv/b", "b");
    check_more(&[described, top], &["d 2775 srv", "f 644 srv/a \"a\"", "f 644 srv/b \"b\""], |root| {
        assert_eq!(root.join("srv").metadata().unwrap().mtime(), 1_700_000_000);
        let mut value = [0_u8; 8];
        let length = rustix::fs::getxattr(root.join("srv"), "user.kept", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"yes");
    })
    .await;
}

#[tokio::test]
async fn root_whiteouts_and_opaque_folders_hide_what_is_below() {
    let top = Tarball::new()
        .dir("etc", 0o750)
        .file("etc/.wh.a", "")
        .file("etc/c", "c")
        .dir("var/cache", 0o700)
        .file("var/cache/.wh..wh..opq", "")
        .file("var/cache/y", "y")
        .file(".wh.gone", "");
    let expect = [
        "d 750 etc",
        "f 644 etc/b \"b\"",
        "f 644 etc/c \"c\"",
        "d 1777 tmp",
        "d 755 var",
        "d 700 var/cache",
        "f 644 var/cache/y \"y\"",
    ];
    check(&[base(), top], &expect).await;
}

#[tokio::test]
async fn root_a_folder_and_its_whiteout_in_one_layer_make_a_new_folder() {
    let expect = [
        "d 700 etc",
        "f 644 etc/new \"n\"",
        "f 644 gone \"gone\"",
        "d 1777 tmp",
        "d 755 var",
        "d 755 var/cache",
        "f 644 var/cache/x \"x\"",
    ];
    check(&[base(), Tarball::new().file(".wh.etc", "").dir("etc", 0o700).file("etc/new", "n")], &expect).await;
    check(&[base(), Tarball::new().dir("etc", 0o700).file("etc/new", "n").file(".wh.etc", "")], &expect).await;
    let mut plain = expect;
    plain[0] = "d 755 etc";
    check(&[base(), Tarball::new().file(".wh.etc", "").file("etc/new", "n")], &plain).await;
}

#[tokio::test]
async fn root_an_opaque_root_hides_every_lower_layer() {
    let top = Tarball::new().file(".wh..wh..opq", "").file("only", "o");
    check(&[base(), top.clone()], &["f 644 only \"o\""]).await;
    check(&[base(), top, Tarball::new().file("more", "m")], &["f 644 more \"m\"", "f 644 only \"o\""]).await;
}

#[tokio::test]
async fn root_whiteouts_of_what_is_not_there_do_not_show() {
    let stray = Tarball::new().dir("new", 0o755).file("new/.wh.nothing", "").file("new/f", "f");
    check(std::slice::from_ref(&stray), &["d 755 new", "f 644 new/f \"f\""]).await;
    check(&[Tarball::new().file("x", "x"), stray], &["d 755 new", "f 644 new/f \"f\"", "f 644 x \"x\""]).await;
    let opaque = Tarball::new().dir("etc", 0o750).file("etc/.wh..wh..opq", "").file("etc/.wh.a", "").file("etc/n", "n");
    let expect = [
        "d 750 etc",
        "f 644 etc/n \"n\"",
        "f 644 gone \"gone\"",
        "d 1777 tmp",
        "d 755 var",
        "d 755 var/cache",
        "f 644 var/cache/x \"x\"",
    ];
    check(&[base(), opaque], &expect).await;
}

#[tokio::test]
async fn root_folders_that_a_layer_does_not_describe_look_as_below() {
    let top = Tarball::new().file("tmp/x", "x").file("etc/sub/y", "y");
    let expect = [
        "d 750 etc",
        "f 644 etc/a \"a\"",
        "f 644 etc/b \"b\"",
        "d 755 etc/sub",
        "f 644 etc/sub/y \"y\"",
        "f 644 gone \"gone\"",
        "d 1777 tmp",
        "f 644 tmp/x \"x\"",
        "d 755 var",
        "d 755 var/cache",
        "f 644 var/cache/x \"x\"",
    ];
    check(&[base(), top], &expect).await;
    // Not those that were taken away in between.
    let removed = Tarball::new().file(".wh.etc", "");
    let again = Tarball::new().file("etc/y", "y").file(".wh.var", "").file(".wh.gone", "").file(".wh.tmp", "");
    check(&[base(), removed, again], &["d 755 etc", "f 644 etc/y \"y\""]).await;
}

#[tokio::test]
async fn root_owners_and_capabilities_are_kept() {
    // cap_net_bind_service+ep, as the kernel stores it.
    let capability: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let records: &[(&str, &[u8])] = &[("uid", b"1000"), ("gid", b"70000"), ("SCHILY.xattr.security.capability", capability)];
    let layer = Tarball::new().pax(records).entry(b"srv", b'0', 0o6755, b"", b"run").pax(&records[..2]).symlink("link", "srv");
    check_more(&[layer], &["l link -> srv", "f 6755 srv \"run\""], |root| {
        let meta = root.join("srv").metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1000, 70_000));
        assert_eq!(root.join("link").symlink_metadata().unwrap().uid(), 1000);
        let mut value = [0_u8; 64];
        let length = rustix::fs::getxattr(root.join("srv"), "security.capability", &mut value[..]).unwrap();
        assert_eq!(&value[..length], capability);
    })
    .await;
}

#[tokio::test]
async fn root_a_full_disk_is_one_clear_error_and_leaves_the_store_as_it_was() {
    let bench = Bench::new(FormatChoice::Auto).await;
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8 << 20).collect();
    let text = b"the same line, over and over\n".repeat(1_000_000);
    let disk = SmallDisk::new("20m");
    for format in FORMATS {
        let options = Options { format, limits: Limits::default(), ..options() };
        let store = ImageStore::open_with(&disk.folder.path().join("store"), options).unwrap();
        let check = async |content: &[u8], expect: &str| {
            let layer = Tarball::new().entry(b"big", b'0', 0o644, b"", content).layer();
            let digest = bench.fake.put_image("shop/web", "1", "amd64", &[layer]);
            let error = store.pull(&bench.registry, &bench.image(), &digest, Arc::default()).await.expect_err("the disk is full");
            assert!(error.is_retryable());
            let text = chain(&error);
            assert!(text.contains(expect), "{text}");
            assert_eq!(super::pulls::names(&disk.folder.path().join("store")), Vec::<String>::new());
        };
        // Seen before the first byte; and, of what turns out larger than it looked, when it is there.
        check(&noise, " are needed, but ").await;
        check(&text, ": does not fit on the disk; free some space, or let unused images be removed").await;
    }
}

/// Debian's docker-registry over a folder of its own, ended when dropped.
struct RealRegistry {
    folder: TempDir,
    process: Child,
    host: String,
}

impl RealRegistry {
    /// The registry takes its port from a file and does not tell which it got, so a free one is tried until it listens.
    async fn start() -> RealRegistry {
        Self::start_with(TempDir::new().unwrap(), "").await
    }

    /// With TLS, by an authority of its own: `ca.pem` in its folder.
    async fn start_tls() -> RealRegistry {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for arguments in [
            format!("req -x509 {key} -keyout ca.key -out ca.pem -days 1 -subj /CN=authority"),
            format!("req {key} -keyout key.pem -out csr -subj /CN=registry"),
            "x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -extfile ext -out cert.pem".to_owned(),
        ] {
            let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output();
            assert!(made.expect("openssl is installed (Debian package openssl)").status.success(), "{arguments}");
        }
        let at = folder.path().display();
        let tls = format!(", tls: {{certificate: {at}/cert.pem, key: {at}/key.pem}}");
        Self::start_with(folder, &tls).await
    }

    async fn start_with(folder: TempDir, tls: &str) -> RealRegistry {
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let host = format!("127.0.0.1:{port}");
            let config = folder.path().join("config.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}{tls}}}\n",
                folder.path().join("data").display()
            );
            std::fs::write(&config, text).unwrap();
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is installed (Debian package docker-registry)");
            for _ in 0..500 {
                if tokio::net::TcpStream::connect(&host).await.is_ok() {
                    return RealRegistry { folder, process, host };
                }
                if process.try_wait().unwrap().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!("docker-registry does not start in {}", folder.path().display());
    }

    /// Pushes an OCI layout, whole, in the format asked for (`oci` or `v2s2`).
    fn push(&self, layout: &Path, name: &str, format: &str) {
        let pushed = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--format", format])
            .arg(format!("oci:{}:latest", layout.display()))
            .arg(format!("docker://{}/{name}", self.host))
            .status()
            .expect("skopeo is installed (Debian package skopeo)");
        assert!(pushed.success());
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An OCI layout with one image, layers bottom first.
fn write_layout(folder: &Path, layers: &[(FakeLayer, &str)]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, content: &[u8]| {
        let digest = Digest::of(content);
        std::fs::File::create(blobs.join(digest.hex())).unwrap().write_all(content).unwrap();
        serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": content.len()})
    };
    let diff_ids: Vec<String> = layers.iter().map(|(layer, _)| layer.diff_id.to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let layers: Vec<_> =
        layers.iter().map(|(layer, kind)| put(&format!("application/vnd.oci.image.layer.v1.tar{kind}"), &layer.blob)).collect();
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = put("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "latest"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}

#[tokio::test]
async fn root_images_come_from_a_real_registry() {
    let layout = TempDir::new().unwrap();
    let archive = Tarball::new().file("etc/plain", "plain").finish();
    let packed = Tarball::new().file("etc/packed", "packed").finish();
    let layers = [
        (base().layer(), "+gzip"),
        (FakeLayer { diff_id: Digest::of(&archive), blob: archive.into() }, ""),
        (FakeLayer { diff_id: Digest::of(&packed), blob: zstd::encode_all(&packed[..], 3).unwrap().into() }, "+zstd"),
    ];
    write_layout(layout.path(), &layers);
    write_layout(&layout.path().join("docker"), &layers[..1]);
    let real = RealRegistry::start().await;
    real.push(layout.path(), "shop/web:oci", "oci");
    real.push(&layout.path().join("docker"), "shop/web:docker", "v2s2");
    let config = RegistryConfig { prefix: real.host.clone(), insecure: true, ..RegistryConfig::default() };
    let registry = Registry::new(vec![config], None).unwrap();
    let folder = TempDir::new().unwrap();
    let _mounts = Mounts(folder.path().join("mnt"));
    let store = ImageStore::open_with(folder.path(), options()).unwrap();
    for (tag, expect) in [("oci", 10), ("docker", 8)] {
        let reference = format!("{}/shop/web:{tag}", real.host).parse().unwrap();
        let digest = registry.resolve(&reference).await.unwrap();
        let progress = Arc::new(Progress::default());
        let image =
            store.pull(&registry, &reference, &digest, progress).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let overlay = Overlay::of(&store.mount(&image.digest).unwrap().lowers);
        assert_eq!(listing(&overlay.root()).len(), expect, "{:?}", listing(&overlay.root()));
        assert_eq!(image.config.config().as_ref().unwrap().env().as_deref(), Some(&["A=b".to_owned()][..]));
    }
    let missing = format!("{}/shop/web:missing", real.host).parse().unwrap();
    let error = registry.resolve(&missing).await.expect_err("there is none");
    assert_eq!(error.to_string(), format!("image {missing}: the registry has no such thing; check the name, or push it"));
}

#[tokio::test]
async fn root_tls_is_trusted_by_the_authority_that_is_configured() {
    let real = RealRegistry::start_tls().await;
    let image = format!("{}/shop/web:1", real.host).parse().unwrap();
    let check = async |config: RegistryConfig, expect: &str| {
        let registry = Registry::new(vec![RegistryConfig { prefix: real.host.clone(), ..config }], None).unwrap();
        let error = chain(&registry.resolve(&image).await.expect_err("there is no such image"));
        assert!(error.contains(expect), "{error}");
    };
    let trusted = RegistryConfig { ca: Some(real.folder.path().join("ca.pem")), ..RegistryConfig::default() };
    check(trusted, "the registry has no such thing").await;
    check(
        RegistryConfig::default(),
        "cannot connect: its certificate is not trusted; set ca in a [[registry]] entry that covers it",
    )
    .await;
    check(RegistryConfig { insecure: true, ..RegistryConfig::default() }, "bad answer: status 400").await;
    let plain = RealRegistry::start().await;
    let image = format!("{}/shop/web:1", plain.host).parse().unwrap();
    let error = Registry::new(Vec::new(), None).unwrap().resolve(&image).await.expect_err("it speaks plain HTTP");
    let expect =
        "cannot connect: it does not answer in TLS; if it serves plain HTTP, set insecure = true in a [[registry]] entry";
    assert!(chain(&error).contains(expect), "{}", chain(&error));
}
