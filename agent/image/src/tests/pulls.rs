//! Whole pulls from a registry that is well, ill, or hostile. After each failure the store is as it was, and a pull without the
//! trouble succeeds.

use super::super::rootfs;
use super::super::{FormatChoice, Image, ImageStore, Options, Progress, PullError, Retry};
use super::root::Overlay;
use super::tarball::Tarball;
use super::{SMALL, chain, listing};
use bytes::Bytes;
use coord_registry::fake::{FakeLayer, FakeRegistry, Fault, LoginRule, OCI_INDEX, OCI_MANIFEST};
use coord_registry::{HostPlatform, Registry, RegistryConfig, Timeouts};
use coord_shared::names::{Digest, ImageReference};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

/// A folder of mounts, unmounted when dropped.
pub(super) struct Mounts(pub(super) PathBuf);

/// A store in a folder of its own, a fake registry, and a client.
pub(super) struct Bench {
    /// Gone before the folder is removed.
    _mounts: Mounts,
    pub(super) folder: TempDir,
    pub(super) store: ImageStore,
    pub(super) fake: FakeRegistry,
    pub(super) registry: Registry,
}

pub(super) fn options() -> Options {
    let retry = Retry { attempts: 3, pause_min: Duration::from_millis(1), pause_max: Duration::from_millis(10) };
    let platform = Some(HostPlatform { architecture: "amd64".to_owned(), variant: 1 });
    Options { limits: SMALL, retry, platform, reserve_bytes: 0, ..Options::default() }
}

impl Bench {
    pub(super) async fn new(format: FormatChoice) -> Bench {
        let folder = TempDir::new().unwrap();
        let store = ImageStore::open_with(folder.path(), Options { format, ..options() }).unwrap();
        let fake = FakeRegistry::start().await.unwrap();
        let config = RegistryConfig { prefix: fake.host(), insecure: true, ..RegistryConfig::default() };
        let registry = Registry::new(vec![config], None).unwrap();
        Bench { _mounts: Mounts(folder.path().join("mnt")), folder, store, fake, registry }
    }

    pub(super) fn image(&self) -> ImageReference {
        format!("{}/shop/web:1", self.fake.host()).parse().unwrap()
    }

    pub(super) async fn pull(&self, digest: &Digest) -> Result<Image, PullError> {
        self.store.pull(&self.registry, &self.image(), digest, Arc::default()).await
    }

    /// What a container would see.
    pub(super) fn shown(&self, image: &Image) -> Vec<String> {
        listing(&Overlay::of(&self.store.mount(&image.digest).unwrap().lowers).root())
    }

    /// Pulls, and returns the error's words without what differs from run to run.
    async fn refused(&self, digest: &Digest) -> String {
        let before = names(self.folder.path());
        let error = self.pull(digest).await.expect_err("the pull fails");
        assert_eq!(names(self.folder.path()), before, "the store is as before");
        assert_eq!(self.store.get(digest).unwrap(), None);
        chain(&error).replace(&self.fake.host(), "HOST").replace(digest.as_ref(), "DIGEST")
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for place in rootfs::mounted_in(&self.0).unwrap_or_default() {
            let _ = rootfs::clear(&place);
        }
    }
}

/// What the store has, by name.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let folders = ["images", "layers", "tmp"].iter();
    let mut names: Vec<String> = folders
        .flat_map(|name| {
            std::fs::read_dir(folder.join(name))
                .unwrap()
                .map(move |entry| format!("{name}/{}", entry.unwrap().file_name().display()))
        })
        .collect();
    names.sort();
    names
}

/// A layer with one file whose content no compression makes small.
fn noise(name: &str, seed: u64) -> FakeLayer {
    noise_of(name, seed, 40_000)
}

fn noise_of(name: &str, seed: u64, bytes: usize) -> FakeLayer {
    let mut random = fastrand::Rng::with_seed(seed);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(bytes).collect();
    Tarball::new().entry(name.as_bytes(), b'0', 0o644, b"", &content).layer()
}

fn two_layers() -> [FakeLayer; 2] {
    [Tarball::new().dir("./", 0o755).dir("etc", 0o755).file("etc/base", "base").layer(), noise("etc/noise", 1)]
}

in_both_formats!(an_image_is_pulled_once_and_then_here);
async fn an_image_is_pulled_once_and_then_here(bench: Bench) {
    let layers = two_layers();
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    assert_eq!(bench.store.get(&digest).unwrap(), None);
    let progress = Arc::new(Progress::default());
    let image = bench.store.pull(&bench.registry, &bench.image(), &digest, Arc::clone(&progress)).await.unwrap();
    let total: u64 = layers.iter().map(|layer| layer.blob.len() as u64).sum();
    let seen = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((seen(&progress.total_bytes), seen(&progress.done_bytes)), (total, total));
    assert_eq!((seen(&progress.total_layers), seen(&progress.done_layers)), (2, 2));
    assert_eq!(image.config.config().as_ref().unwrap().cmd().as_deref(), Some(&["true".to_owned()][..]));
    assert_eq!(bench.shown(&image), ["d 755 etc", "f 644 etc/base \"base\"", "f 644 etc/noise 40000 bytes"]);
    let requests = bench.fake.requests().len();
    assert_eq!(bench.pull(&digest).await.unwrap(), image);
    assert_eq!(bench.store.get(&digest).unwrap().unwrap(), image);
    assert_eq!(bench.fake.requests().len(), requests, "nothing is asked for twice");
    let list = bench.store.list().unwrap();
    assert_eq!((list.len(), &list[0].digest, list[0].layers, list[0].content_bytes), (1, &digest, 2, 40_004));
    assert!(list[0].references[0].ends_with("/shop/web:1"));
}

in_both_formats!(an_index_leads_to_this_hosts_image);
async fn an_index_leads_to_this_hosts_image(bench: Bench) {
    let entry = |digest: &Digest, architecture: &str| {
        format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let index =
        |entries: &[String]| format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    let ours = bench.fake.put_image("shop/web", "ours", "amd64", &two_layers());
    let theirs = bench.fake.put_image("shop/web", "theirs", "arm64", &two_layers());
    let both = bench.fake.put_manifest("shop/web", "1", OCI_INDEX, index(&[entry(&theirs, "arm64"), entry(&ours, "amd64")]));
    let only_theirs = bench.fake.put_manifest("shop/web", "2", OCI_INDEX, index(&[entry(&theirs, "arm64")]));
    assert_eq!(bench.pull(&both).await.unwrap().digest, both);
    let expect = "cannot pull HOST/shop/web:1@DIGEST: it is not for linux/amd64, but for linux/arm64; build it for this platform too, or choose other hosts";
    assert_eq!(bench.refused(&only_theirs).await, expect);
    assert_eq!(bench.refused(&theirs).await, expect, "without an index the config says it");
    let liar = bench.fake.put_manifest("shop/web", "3", OCI_INDEX, index(&[entry(&theirs, "amd64")]));
    assert_eq!(bench.refused(&liar).await, expect);
    let mut deep = bench.fake.put_image("shop/web", "deep", "amd64", &[]);
    for _ in 0..3 {
        deep = bench.fake.put_manifest("shop/web", "deep", OCI_INDEX, index(&[entry(&deep, "amd64")]));
    }
    assert!(bench.refused(&deep).await.contains("its index names an index that names an index"));
}

in_both_formats!(trouble_that_passes_is_not_an_error);
async fn trouble_that_passes_is_not_an_error(bench: Bench) {
    let layers = two_layers();
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    bench.fake.fault("/manifests/", Fault::Status(500, Vec::new()), 2);
    bench.fake.fault("/blobs/", Fault::Status(503, Vec::new()), 1);
    bench.fake.fault("/blobs/", Fault::Status(429, vec!["Retry-After: 0".to_owned()]), 1);
    bench.fake.fault(&format!("/blobs/{}", Digest::of(&layers[1].blob)), Fault::Cut(0), 1);
    bench.pull(&digest).await.unwrap();
}

in_both_formats!(a_cut_blob_goes_on_where_it_ended);
async fn a_cut_blob_goes_on_where_it_ended(bench: Bench) {
    let layer = noise_of("n", 2, 400_000);
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let path = format!("/blobs/{}", Digest::of(&layer.blob));
    // More cuts than attempts: what brings something new does not count as failed.
    bench.fake.fault(&path, Fault::Cut(70_000), 5);
    bench.fake.fault(&path, Fault::IgnoreRange, 1);
    let image = bench.pull(&digest).await.unwrap();
    assert_eq!(bench.shown(&image), ["f 644 n 400000 bytes"]);
    let ranges: Vec<_> = bench
        .fake
        .requests()
        .into_iter()
        .filter(|request| request.path.contains(&path))
        .map(|request| request.headers.get("range").cloned())
        .collect();
    let expect = [None, Some("70000"), Some("140000"), Some("210000"), Some("280000"), Some("350000")];
    assert_eq!(ranges, expect.map(|start| start.map(|start| format!("bytes={start}-"))));
}

in_both_formats!(trouble_that_stays_is_one_clear_error);
async fn trouble_that_stays_is_one_clear_error(bench: Bench) {
    let layer = noise("n", 3);
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &[two_layers()[0].clone(), layer.clone()]);
    let blob = Digest::of(&layer.blob);
    let path = format!("/blobs/{blob}");
    let check = async |fault: Fault, times: u32, expect: &str| {
        bench.fake.fault(&path, fault.clone(), times);
        let error = bench.pull(&digest).await.expect_err("the pull fails");
        let text =
            chain(&error).replace(&bench.fake.host(), "HOST").replace(digest.as_ref(), "DIGEST").replace(blob.as_ref(), "BLOB");
        assert!(text.starts_with("cannot pull HOST/shop/web:1@DIGEST: ") && text.contains(expect), "{fault:?}: {text}");
        assert!(
            names(bench.folder.path()).iter().all(|name| !name.starts_with("images/") && !name.starts_with("tmp/")),
            "{fault:?}"
        );
    };
    check(
        Fault::Status(404, Vec::new()),
        1,
        "blob BLOB of HOST/shop/web: the registry has no such thing; check the name, or push it",
    )
    .await;
    check(Fault::Status(403, Vec::new()), 1, "access denied by the registry; add username and password").await;
    check(Fault::Status(500, Vec::new()), 3, "the registry failed with status 500").await;
    check(Fault::Cut(0), 3, "the connection broke").await;
    let mut wrong = layer.blob.to_vec();
    wrong[30_000] ^= 1;
    check(Fault::Replace(wrong.into()), 1, "layer BLOB: its bytes have the digest sha256:").await;
    check(Fault::Replace(layer.blob.slice(..9000)), 1, "it has 9000 bytes instead of the manifest's 4").await;
    bench.pull(&digest).await.unwrap();
}

in_both_formats!(a_registry_that_drips_is_given_up);
async fn a_registry_that_drips_is_given_up(mut bench: Bench) {
    let layer = noise("n", 11);
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let config = RegistryConfig { prefix: bench.fake.host(), insecure: true, ..RegistryConfig::default() };
    let timeouts = Timeouts { stall: Duration::from_millis(200), ..Timeouts::default() };
    bench.registry = Registry::with_timeouts(vec![config], None, timeouts).unwrap();
    bench.fake.fault(&format!("/blobs/{}", Digest::of(&layer.blob)), Fault::Drip(1, Duration::from_millis(10)), 3);
    let error = bench.refused(&digest).await;
    assert!(
        error.contains(": stalled: ") && error.ends_with("bytes in 200 ms; check the registry's load and the network"),
        "{error}"
    );
}

in_both_formats!(manifests_and_configs_that_lie_are_refused);
async fn manifests_and_configs_that_lie_are_refused(bench: Bench) {
    let huge = bench.fake.put_manifest("shop/web", "huge", OCI_MANIFEST, vec![b' '; (4 << 20) + 1]);
    assert!(bench.refused(&huge).await.ends_with("bad answer: larger than the limit of 4194304 bytes"));
    let layer = noise("n", 4);
    let (blob, size) = (bench.fake.put_blob(layer.blob.clone()), layer.blob.len());
    let manifest = |tag: &str, config: &str, layers: &str| {
        let config_digest = bench.fake.put_blob(config.to_owned());
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{layers}]}}"#,
            config.len()
        );
        bench.fake.put_manifest("shop/web", tag, OCI_MANIFEST, text)
    };
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#, layer.diff_id);
    let good = format!(r#"{{"mediaType":"a/b","digest":"{blob}","size":{size}}}"#);
    let foreign = format!(r#"{{"mediaType":"a/b","digest":"{blob}","size":{size},"urls":["http://elsewhere.example/"]}}"#);
    let check = async |digest: Digest, expect: &str| {
        let error = bench.refused(&digest).await;
        assert!(error.contains(expect), "{error}");
    };
    check(manifest("a", &config, &foreign), "is to be fetched from elsewhere (foreign or with urls), which is refused").await;
    check(manifest("b", &config, ""), "its manifest has 0 layers, its config 1; push the image again").await;
    check(manifest("c", "hello", &good), "its config is malformed: ").await;
    check(manifest("d", &config.replace("sha256:", "md5:"), &good), "its config has a bad diff id: ").await;
    let wrong_size = good.replace(&size.to_string(), "17");
    check(manifest("e", &config, &wrong_size), &format!("it has {size} bytes instead of the manifest's 17")).await;
    let other = Digest::of(b"other");
    let wrong_diff_id = config.replace(layer.diff_id.as_ref(), other.as_ref());
    check(
        manifest("f", &wrong_diff_id, &good),
        &format!("its archive has the diff id {} instead of {other}; push the image again", layer.diff_id),
    )
    .await;
    let missing = bench.refused(&Digest::of(b"nothing")).await;
    assert!(missing.ends_with("of HOST/shop/web: the registry has no such thing; check the name, or push it"), "{missing}");
    bench.pull(&manifest("g", &config, &good)).await.unwrap();
}

in_both_formats!(a_login_is_needed_and_used);
async fn a_login_is_needed_and_used(bench: Bench) {
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &two_layers());
    let login = ("ann".to_owned(), "s3cret".to_owned());
    bench.fake.require_login(LoginRule::Bearer(Some(login.clone())));
    let error = bench.refused(&digest).await;
    assert!(error.ends_with("access denied by the registry; add username and password to a [[registry]] entry that covers it, or log in with docker login"), "{error}");
    let config = RegistryConfig {
        prefix: bench.fake.host(),
        insecure: true,
        username: Some(login.0),
        password: Some(login.1),
        ..RegistryConfig::default()
    };
    let registry = Registry::new(vec![config], None).unwrap();
    bench.store.pull(&registry, &bench.image(), &digest, Arc::default()).await.unwrap();
}

in_both_formats!(a_hostile_layer_leaves_nothing_behind);
async fn a_hostile_layer_leaves_nothing_behind(bench: Bench) {
    let hostile = Tarball::new().file("fine", "fine").file("../../../../escaped", "x").layer();
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&hostile));
    let error = bench.refused(&digest).await;
    let expect = format!(
        "cannot pull HOST/shop/web:1@DIGEST: layer {}: its entry \"../../../../escaped\" has \"..\" in its path; build the image without it",
        Digest::of(&hostile.blob)
    );
    assert_eq!(error, expect);
    assert!(!bench.folder.path().join("escaped").exists());
}

in_both_formats!(concurrent_pulls_fetch_a_shared_layer_once);
async fn concurrent_pulls_fetch_a_shared_layer_once(bench: Bench) {
    let (base, a, b) = (noise("base", 5), noise("a", 6), noise("b", 7));
    let first = bench.fake.put_image("shop/web", "1", "amd64", &[base.clone(), a]);
    let second = bench.fake.put_image("shop/web", "2", "amd64", &[base.clone(), b]);
    let path = format!("/blobs/{}", Digest::of(&base.blob));
    // Slow, so that all pulls meet at it.
    bench.fake.fault(&path, Fault::Drip(4000, Duration::from_millis(5)), 1);
    let (one, two, three) = tokio::join!(bench.pull(&first), bench.pull(&second), bench.pull(&first));
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    assert_eq!(one, three);
    assert_eq!(bench.shown(&one), ["f 644 a 40000 bytes", "f 644 base 40000 bytes"]);
    assert_eq!(bench.shown(&two), ["f 644 b 40000 bytes", "f 644 base 40000 bytes"]);
    assert_eq!(bench.fake.count(&path), 1);
}

in_both_formats!(many_callers_make_one_pull);
async fn many_callers_make_one_pull(bench: Bench) {
    let layers = [noise("a", 12), noise("b", 13)];
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &layers);
    bench.fake.fault(&format!("/blobs/{}", Digest::of(&layers[0].blob)), Fault::Drip(4000, Duration::from_millis(5)), 1);
    let progress: Vec<Arc<Progress>> = (0..20).map(|_| Arc::default()).collect();
    let image = bench.image();
    let pulls = progress.iter().map(|progress| bench.store.pull(&bench.registry, &image, &digest, Arc::clone(progress)));
    for pulled in futures_util::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().digest, digest);
    }
    assert_eq!((bench.fake.count("/manifests/"), bench.fake.count("/blobs/")), (1, 3));
    assert!(progress.iter().all(|progress| progress.done_layers.load(Ordering::Relaxed) == 2));
}

in_both_formats!(many_callers_get_one_error_and_may_try_again);
async fn many_callers_get_one_error_and_may_try_again(bench: Bench) {
    let layer = noise("a", 14);
    let digest = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&layer));
    let path = format!("/blobs/{}", Digest::of(&layer.blob));
    bench.fake.fault(&path, Fault::Status(404, Vec::new()), 1);
    let pulls = (0..20).map(|_| bench.pull(&digest));
    let errors: Vec<PullError> =
        futures_util::future::join_all(pulls).await.into_iter().map(|pulled| pulled.expect_err("it fails")).collect();
    assert_eq!(bench.fake.count(&path), 1);
    for error in &errors {
        assert_eq!(chain(error), chain(&errors[0]));
        assert!(chain(error).contains("the registry has no such thing"), "{}", chain(error));
        assert!(!error.is_retryable());
    }
    bench.pull(&digest).await.unwrap();
    assert_eq!(bench.fake.count(&path), 2);
}

in_both_formats!(a_waiting_pull_takes_over_when_the_first_one_goes_away);
async fn a_waiting_pull_takes_over_when_the_first_one_goes_away(bench: Bench) {
    let base = noise("base", 8);
    let one = bench.fake.put_image("shop/web", "1", "amd64", std::slice::from_ref(&base));
    let two = bench.fake.put_image("shop/web", "2", "amd64", &[base.clone(), noise("more", 9)]);
    let path = format!("/blobs/{}", Digest::of(&base.blob));
    bench.fake.fault(&path, Fault::Drip(200, Duration::from_millis(20)), 1);
    let mut first = Box::pin(bench.pull(&one));
    tokio::select! {
        result = &mut first => panic!("too quick: {result:?}"),
        () = until(|| bench.fake.count(&path) == 1) => {}
    }
    let mut second = Box::pin(bench.pull(&two));
    tokio::select! {
        result = &mut first => panic!("too quick: {result:?}"),
        result = &mut second => panic!("too quick: {result:?}"),
        // Both configs, the shared layer, and the second image's own, so that only the shared one is missing.
        () = until(|| bench.fake.count("/blobs/") == 4) => {}
    }
    drop(first);
    second.await.unwrap();
    assert_eq!(bench.fake.count(&path), 2);
}

in_both_formats!(a_dropped_pull_cleans_up_behind_itself);
async fn a_dropped_pull_cleans_up_behind_itself(bench: Bench) {
    let digest = bench.fake.put_image("shop/web", "1", "amd64", &[noise("n", 9)]);
    bench.fake.fault("/blobs/", Fault::IgnoreRange, 1);
    bench.fake.fault("/blobs/", Fault::Drip(2000, Duration::from_millis(10)), 1);
    let is_busy = || names(bench.folder.path()).iter().any(|name| name.starts_with("tmp/"));
    tokio::select! {
        result = bench.pull(&digest) => panic!("too quick: {result:?}"),
        () = until(is_busy) => {}
    }
    until(|| !is_busy()).await;
    assert_eq!(names(bench.folder.path()), Vec::<String>::new());
    bench.pull(&digest).await.unwrap();
}

in_both_formats!(a_layer_may_come_twice_and_an_image_may_have_none);
async fn a_layer_may_come_twice_and_an_image_may_have_none(bench: Bench) {
    let [base, top] = two_layers();
    let twice = bench.fake.put_image("shop/web", "1", "amd64", &[top.clone(), base.clone(), top.clone()]);
    let image = bench.pull(&twice).await.unwrap();
    // Overlayfs refuses the same folder twice, and what is on top shows anyway.
    assert_eq!(bench.shown(&image), ["d 755 etc", "f 644 etc/base \"base\"", "f 644 etc/noise 40000 bytes"]);
    let none = bench.fake.put_image("shop/web", "2", "amd64", &[]);
    let image = bench.pull(&none).await.unwrap();
    assert_eq!(bench.shown(&image), Vec::<String>::new());
    let empty = FakeLayer { blob: Bytes::new(), diff_id: Digest::of(b"") };
    let of_nothing = bench.fake.put_image("shop/web", "3", "amd64", &[empty]);
    assert_eq!(bench.shown(&bench.pull(&of_nothing).await.unwrap()), Vec::<String>::new());
}

/// Waits for a condition, looking again whenever others have had their turn.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the condition comes true in time");
}
