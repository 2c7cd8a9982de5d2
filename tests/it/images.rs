//! The fault table of images: what goes wrong while one is pulled, what the person sees, what is on the disk afterwards,
//! and that the next try succeeds. In every format that images are kept in; what runs, runs on throughout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use coord_tests::config::Images;
use coord_tests::faulty::{Fault, FaultyRegistry, Target};
use coord_tests::fleet::view::{pid_on, reasons, view};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan};
use coord_tests::image::{Compression, Image, Layer, web};
use coord_tests::process::{Pid, describe, runs};
use coord_tests::registry::TestRegistry;
use coord_tests::wait::wait_until;

const FORMATS: [&str; 2] = ["auto", "directories"];
/// Of a layer that takes a while: enough for a fault in its middle, little enough for a test.
const LARGE_MIB: usize = 8;

/// One host, whose registry is behind a faulty one; version `good` runs already.
struct Scene {
    fleet: Fleet,
    faulty: FaultyRegistry,
    registry: TestRegistry,
    /// The first process of what runs.
    pid: Pid,
}

impl Scene {
    fn start(format: &'static str) -> Result<Scene> {
        Scene::on(Plan::processes(1), Images { format: Some(format), ..Images::default() })
    }

    fn on(plan: Plan, images: Images<'static>) -> Result<Scene> {
        let registry = TestRegistry::start()?;
        registry.push(&web::image("good")?, "demo/web", "good")?;
        let faulty = FaultyRegistry::start(registry.authority())?;
        let fleet = plan.images(images).registry(faulty.authority()).start()?;
        let mut scene = Scene { fleet, faulty, registry, pid: Pid::from_raw(0) };
        scene.publish("good")?;
        scene.ready()?;
        Ok(scene)
    }

    fn push(&self, image: &Image, version: &str) -> Result<()> {
        self.registry.push(image, "demo/web", version).map(drop)
    }

    fn publish(&self, version: &str) -> Result<()> {
        self.publish_as("web", version)
    }

    fn publish_as(&self, workload: &str, version: &str) -> Result<()> {
        let image = self.faulty.reference("demo/web", version);
        self.fleet.write_document(workload, &format!("image = {image:?}\nhosts = [\"h0\"]\nnetwork = \"none\"\n"))
    }

    /// Waits until another version runs than before.
    fn ready(&mut self) -> Result<()> {
        self.fleet.wait_status("another version runs", |status| {
            view(status, "web").and_then(|web| pid_on(&web, "h0")).is_ok_and(|pid| pid != self.pid)
        })?;
        let web = self.fleet.wait_ready("web", &["h0"])?;
        self.pid = pid_on(&web, "h0")?;
        Ok(())
    }

    /// Waits until the status gives a reason with all these words; what ran before must still run.
    fn says(&self, words: &[&str]) -> Result<()> {
        self.fleet.wait_status(&format!("the status says {words:?}"), |status| {
            view(status, "web").is_ok_and(|web| words.iter().all(|word| reasons(&web).contains(word)))
        })?;
        ensure!(runs(self.pid), "what ran before has ended");
        Ok(())
    }

    /// What the store holds: entries of its folders. Nothing is unfinished in it once nothing is pulled.
    fn layers(&self) -> usize {
        entries(&self.store().join("layers"))
    }

    fn store(&self) -> std::path::PathBuf {
        self.fleet.agent(0).state_dir.join("images")
    }

    fn is_clean(&self) -> Result<()> {
        let what = "the store has nothing unfinished";
        wait_until(FLEET_LIMIT, what, || ["tmp", "partial"].iter().all(|name| entries(&self.store().join(name)) == 0))
    }

    fn image(&self, args: &[&str]) -> Result<String> {
        let output = self.fleet.image(0, args)?;
        ensure!(output.status.success(), "coord-agent image {args:?}: {}", describe(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How often each blob was asked for, its parts included.
    fn downloads(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.faulty.requests() {
            if let Some((_, rest)) = request.split_once("/blobs/").filter(|_| request.starts_with("GET ")) {
                *counts.entry(rest.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

#[test]
fn a_registry_that_dies_in_the_middle_is_waited_for_and_asked_for_the_rest() -> Result<()> {
    for (format, percents) in FORMATS.into_iter().zip([&[10, 50, 90][..], &[50]]) {
        let mut scene = Scene::start(format)?;
        for &percent in percents {
            let version = format!("after-{percent}");
            scene.push(&web::large(&version, LARGE_MIB, u64::from(percent))?, &version)?;
            let (layers, sent) = (scene.layers(), scene.faulty.sent_bytes());
            scene.faulty.set(Target::LargeBlobs, Fault::Dies(percent));
            scene.publish(&version)?;
            wait_until(FLEET_LIMIT, "the registry dies", || scene.faulty.is_dead())?;
            scene.says(&["pulling the image"])?;
            // Its small layers may be complete: the large one is not there, nor is the image.
            ensure!(scene.layers() <= layers + 2, "{format}: a layer that is not whole has its name");
            ensure!(!scene.image(&["ls"])?.contains(&version), "{format}: an image that is not whole is listed");

            scene.faulty.clear();
            scene.ready().with_context(|| format!("{format}: killed at {percent} percent"))?;
            let (sent, whole) = (scene.faulty.sent_bytes() - sent, LARGE_MIB as u64 * 1024 * 1024);
            ensure!(sent < whole * 5 / 4, "{format}: {sent} bytes were sent for {whole}: it was begun again, not resumed");
            scene.is_clean()?;
        }
    }
    Ok(())
}

#[test]
fn a_corrupted_layer_is_refused_and_leaves_nothing() -> Result<()> {
    for format in FORMATS {
        let mut scene = Scene::start(format)?;
        scene.push(&web::large("corrupted", 1, 1)?, "corrupted")?;
        let layers = scene.layers();
        scene.faulty.set(Target::LargeBlobs, Fault::WrongBytes);
        scene.publish("corrupted")?;
        scene.says(&["pull failed", "the registry or something before it is broken"])?;
        ensure!(scene.layers() <= layers + 2, "{format}: the corrupted layer has its name");
        scene.faulty.clear();
        scene.ready().context("the next try")?;
        scene.is_clean()?;
    }
    Ok(())
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() -> Result<()> {
    for format in FORMATS {
        // The disk holds the first image a few times, and never the second: its layer is small until it is unpacked.
        let images = Images { format: Some(format), reserve: Some("1MiB") };
        let mut scene = Scene::on(Plan::processes(1).disk(64), images)?;
        let zeros = Layer::default().file("srv", 0o644, &vec![0; 96 * 1024 * 1024])?;
        scene.push(&web::builder("huge")?.layer(zeros)?.compression(Compression::Zstd).build()?, "huge")?;
        scene.push(&web::image("small")?, "small")?;
        let layers = scene.layers();
        scene.publish("huge")?;
        scene.says(&["pull failed", "fit"])?;
        ensure!(scene.layers() <= layers + 2, "{format}: the layer that does not fit has its name");
        scene.publish("small")?;
        scene.ready().context("an image that fits")?;
        scene.is_clean()?;
    }
    Ok(())
}

#[test]
fn a_pull_that_would_take_the_reserve_is_refused_with_the_numbers() -> Result<()> {
    let mut scene = Scene::start("auto")?;
    scene.push(&web::large("late", 1, 2)?, "late")?;
    scene.fleet.images.reserve = Some("900000GiB");
    scene.fleet.restart_agent(0)?;
    scene.publish("late")?;
    scene.says(&["pull failed", "are needed", "free", "in reserve", "coord-agent image prune"])?;
    ensure!(!scene.downloads().values().any(|count| *count > 1), "it was refused before it began: {:?}", scene.downloads());
    scene.fleet.images.reserve = None;
    scene.fleet.restart_agent(0)?;
    scene.ready()
}

#[test]
fn an_agent_that_is_killed_in_the_middle_goes_on_where_it_was() -> Result<()> {
    const SLOW_MIB: u64 = 16;
    let mut scene = Scene::start("auto")?;
    scene.push(&web::large("slow", usize::try_from(SLOW_MIB)?, 3)?, "slow")?;
    let (whole, sent) = (SLOW_MIB * 1024 * 1024, scene.faulty.sent_bytes());
    scene.faulty.set(Target::LargeBlobs, Fault::Slow);
    scene.publish("slow")?;
    wait_until(FLEET_LIMIT, "most of it has come", || scene.faulty.sent_bytes() - sent > whole * 3 / 4)?;
    scene.fleet.kill_agent(0)?;
    ensure!(runs(scene.pid), "what ran before has ended with the agent");
    scene.faulty.clear();
    scene.fleet.start_agent(0)?;
    scene.ready()?;
    let sent = scene.faulty.sent_bytes() - sent;
    // The first two seconds are not kept, because a quick pull is not to write its bytes twice: 5 MB of 16.
    ensure!(sent < whole * 3 / 2, "{sent} bytes were sent for {whole}: it was begun again, not resumed");
    scene.is_clean()
}

#[test]
fn a_registry_that_is_too_busy_is_asked_again() -> Result<()> {
    let mut scene = Scene::start("auto")?;
    for (number, status) in [429, 500, 503].into_iter().enumerate() {
        let version = status.to_string();
        scene.push(&web::large(&version, 1, 10 + number as u64)?, &version)?;
        let requests = scene.faulty.requests().len();
        scene.faulty.set_times(Target::LargeBlobs, Fault::Status(status), 2);
        scene.publish(&version)?;
        scene.ready().with_context(|| format!("after {status}"))?;
        let asked = scene.faulty.requests().split_off(requests);
        ensure!(asked.iter().any(|request| request.contains("/blobs/")), "{asked:?}");
    }
    Ok(())
}

#[test]
fn whoever_asks_at_once_shares_one_download() -> Result<()> {
    for (format, instances) in FORMATS.into_iter().zip([20, 4]) {
        let scene = Scene::start(format)?;
        // Two images that share a large layer, and many instances of one of them.
        scene.push(&web::large("left", LARGE_MIB, 4)?, "left")?;
        scene.push(&web::large("right", LARGE_MIB, 4)?, "right")?;
        let names: Vec<String> = (0..instances).map(|number| format!("w{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            scene.publish_as(name, if number == 0 { "right" } else { "left" })?;
        }
        for name in &names {
            scene.fleet.wait_ready(name, &["h0"])?;
        }
        let more: Vec<(String, usize)> = scene.downloads().into_iter().filter(|(_, count)| *count > 1).collect();
        ensure!(more.is_empty(), "{format}: downloaded more than once: {more:?}");

        for name in names.iter().map(String::as_str).chain(["web"]) {
            scene.fleet.delete_document(name)?;
        }
        for name in names.iter().map(String::as_str).chain(["web"]) {
            scene.fleet.wait_gone(name)?;
        }
        let said = scene.image(&["prune", "--all"])?;
        ensure!(scene.layers() == 0, "{format}: layers are left after:\n{said}{}", scene.image(&["ls"])?);
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let store = scene.store();
        let left = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(&store));
        ensure!(left.count() == 0, "{format}: something is left mounted");
        scene.is_clean()?;
    }
    Ok(())
}
