//! Pushing to and pulling from the image centre, beside Debian's docker-registry, in one run: throughput, processor time, peak memory.
//!
//! Both speak plain HTTP on loopback to the same clients and keep their files on the same disk; they take turns. `curl` moves one large
//! layer, so that the server is what is measured; `skopeo` moves an image as people do, and hashes and checks by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use coord_tests::fleet::{Fleet, Plan};
use coord_tests::images::other;
use coord_tests::process::Pid;
use coord_tests::registry::TestRegistry;
use coord_tests::say;
use tempfile::TempDir;

use crate::table::{self, Table, mib, percentile};

pub(crate) const USAGE: &str = "       coord-bench registry [--images DIR] [--mib N] [--runs N] [--dir DIR]";

/// Of the large layer.
const LAYER_MIB: u64 = 2048;
const RUNS: usize = 3;
const MIB: u64 = 1024 * 1024;
/// What skopeo moves, as layouts in the folder of images.
const IMAGES: [&str; 2] = ["pyapp", "manyfiles"];
/// The kernel counts processor time in hundredths of a second (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICK: Duration = Duration::from_millis(10);

struct Options {
    images: Option<PathBuf>,
    layer_mib: u64,
    runs: usize,
    dir: PathBuf,
}

/// One of the two.
struct Server {
    name: &'static str,
    authority: String,
    /// A header that opens it.
    login: Option<String>,
    credentials: Option<String>,
    pid: Pid,
}

/// What one transfer cost.
struct Cost {
    time: Duration,
    cpu: Duration,
    peak_bytes: u64,
}

/// Of several runs of one kind.
#[derive(Default)]
struct Costs(Vec<Cost>);

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let dir = tempfile::Builder::new().prefix("coord-bench-").tempdir_in(&options.dir)?;
    let fleet = Plan::processes(0).start()?;
    let registry = TestRegistry::start()?;
    let servers = [Server::centre(&fleet)?, Server::docker(&registry)];
    let columns = ["what", "server", "push", "server's CPU", "peak RSS", "pull", "server's CPU", "peak RSS"];
    let mut table = Table::new(&columns);
    layers(&options, &dir, &servers, &mut table)?;
    for image in options.images.iter().flat_map(|images| IMAGES.map(|name| images.join(name))) {
        copies(&options, &image, &dir, &servers, &mut table)?;
    }
    table::print(&[("Image centre and docker-registry", &table)])
}

/// One large layer by curl.
fn layers(options: &Options, dir: &TempDir, servers: &[Server], table: &mut Table) -> Result<()> {
    let mut costs = [(Costs::default(), Costs::default()), (Costs::default(), Costs::default())];
    let layer = dir.path().join("layer");
    for number in 0..options.runs {
        // Other bytes each time: what is there already is not sent.
        let digest = make_layer(&layer, options.layer_mib)?;
        for (server, (push, pull)) in servers.iter().zip(&mut costs) {
            say(&format!("{}: layer {number} of {} MiB", server.name, options.layer_mib));
            push.0.push(measure(server.pid, || server.push_layer(&layer, &digest))?);
            pull.0.push(measure(server.pid, || server.pull_layer(&digest))?);
        }
    }
    let bytes = Some(options.layer_mib);
    for (server, (push, pull)) in servers.iter().zip(costs) {
        let what = format!("a layer of {} MiB, curl", options.layer_mib);
        table.row(&[vec![what, server.name.to_owned()], push.cells(bytes), pull.cells(bytes)].concat());
    }
    Ok(())
}

/// One image by skopeo.
fn copies(options: &Options, image: &Path, dir: &TempDir, servers: &[Server], table: &mut Table) -> Result<()> {
    let mut costs = [(Costs::default(), Costs::default()), (Costs::default(), Costs::default())];
    let name = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for number in 0..options.runs {
        for (server, (push, pull)) in servers.iter().zip(&mut costs) {
            say(&format!("{}: {name} {number}", server.name));
            // A repository of its own each time.
            let at = format!("docker://{}/bench/{name}{number}:1", server.authority);
            let from = format!("oci:{}", image.display());
            push.0.push(measure(server.pid, || server.skopeo(&from, &at))?);
            let back = dir.path().join("back");
            pull.0.push(measure(server.pid, || server.skopeo(&at, &format!("oci:{}", back.display())))?);
            fs::remove_dir_all(&back)?;
        }
    }
    for (server, (push, pull)) in servers.iter().zip(costs) {
        table.row(&[vec![format!("{name}, skopeo"), server.name.to_owned()], push.cells(None), pull.cells(None)].concat());
    }
    Ok(())
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options { images: None, layer_mib: LAYER_MIB, runs: RUNS, dir: std::env::temp_dir() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().with_context(|| format!("{word} needs a value\n{USAGE}"));
            match *word {
                "--images" => options.images = Some(PathBuf::from(value()?)),
                "--mib" => options.layer_mib = value()?.parse()?,
                "--runs" => options.runs = value()?.parse()?,
                "--dir" => options.dir = PathBuf::from(value()?),
                other => bail!("unknown: {other}\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

impl Server {
    fn centre(fleet: &Fleet) -> Result<Server> {
        let token = fleet.admin_token()?;
        Ok(Server {
            name: "coord",
            authority: fleet.centre().to_owned(),
            login: Some(format!("Authorization: Bearer {token}")),
            credentials: Some(format!("admin:{token}")),
            pid: fleet.coordinator()?.pid(),
        })
    }

    fn docker(registry: &TestRegistry) -> Server {
        let authority = registry.authority().to_owned();
        Server { name: "docker-registry", authority, login: None, credentials: None, pid: registry.pid() }
    }

    fn curl(&self, args: &[&str]) -> Result<String> {
        let mut line = ["curl", "-sS", "--fail-with-body", "--noproxy", "*"].to_vec();
        self.login.iter().for_each(|login| line.extend(["-H", login]));
        line.extend(args);
        Ok(String::from_utf8_lossy(&other(&line)?.stdout).into_owned())
    }

    fn push_layer(&self, layer: &Path, digest: &str) -> Result<()> {
        let opened = format!("http://{}/v2/bench/layer/blobs/uploads/", self.authority);
        let head = self.curl(&["-X", "POST", "-D", "-", "-o", "/dev/null", &opened])?;
        let is_location = |line: &&str| line.to_ascii_lowercase().starts_with("location:");
        let location = head.lines().find(is_location).and_then(|line| line.split_once(':'));
        let (_, location) = location.with_context(|| format!("no location: {head}"))?;
        let location = location.trim();
        let base = if location.starts_with('/') { format!("http://{}", self.authority) } else { String::new() };
        let sign = if location.contains('?') { '&' } else { '?' };
        let url = format!("{base}{location}{sign}digest={digest}");
        self.curl(&["-T", &layer.to_string_lossy(), "-H", "Expect:", "-H", "Content-Type: application/octet-stream", &url])?;
        Ok(())
    }

    fn pull_layer(&self, digest: &str) -> Result<()> {
        let url = format!("http://{}/v2/bench/layer/blobs/{digest}", self.authority);
        self.curl(&["-o", "/dev/null", &url]).map(drop)
    }

    /// Without what skopeo remembers of earlier pushes, which would make the later ones cheaper.
    fn skopeo(&self, from: &str, to: &str) -> Result<()> {
        const FORGETFUL: &str = r#"mkdir -p /var/lib/containers && mount -t tmpfs tmpfs /var/lib/containers && exec "$@""#;
        let side = if to.starts_with("docker:") { "dest" } else { "src" };
        let tls = format!("--{side}-tls-verify=false");
        let login = self.credentials.as_ref().map(|credentials| format!("--{side}-creds={credentials}"));
        let mut line = ["unshare", "--mount", "sh", "-c", FORGETFUL, "forgetful"].to_vec();
        line.extend(["skopeo", "copy", "-q", "--preserve-digests", &tls]);
        login.iter().for_each(|login| line.push(login));
        line.extend([from, to]);
        other(&line).map(drop)
    }
}

impl Costs {
    /// Median time (and throughput), median processor time, highest memory.
    fn cells(mut self, layer_mib: Option<u64>) -> Vec<String> {
        self.0.sort_by_key(|cost| cost.time);
        let times: Vec<Duration> = self.0.iter().map(|cost| cost.time).collect();
        let time = percentile(&times, 50).unwrap_or_default();
        let speed = layer_mib.map_or_else(String::new, |mib| format!(" ({:.0} MiB/s)", mib as f64 / time.as_secs_f64()));
        let mut cpu: Vec<Duration> = self.0.iter().map(|cost| cost.cpu).collect();
        cpu.sort();
        let peak = self.0.iter().map(|cost| cost.peak_bytes).max().unwrap_or_default();
        let cpu = percentile(&cpu, 50).unwrap_or_default();
        vec![format!("{:.2} s{speed}", time.as_secs_f64()), format!("{:.2} s", cpu.as_secs_f64()), mib(peak)]
    }
}

fn measure(server: Pid, transfer: impl FnOnce() -> Result<()>) -> Result<Cost> {
    // The high-water mark starts anew (proc(5), clear_refs).
    fs::write(format!("/proc/{server}/clear_refs"), "5").context("reset the server's peak")?;
    let before = cpu(server)?;
    let start = Instant::now();
    transfer()?;
    let time = start.elapsed();
    Ok(Cost { time, cpu: cpu(server)?.saturating_sub(before), peak_bytes: high_water(server)? })
}

/// User and system time of a process (proc_pid_stat(5), fields 14 and 15).
fn cpu(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
    let ticks: Result<Vec<u32>, _> = rest.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(TICK * ticks?.iter().sum::<u32>())
}

fn high_water(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.split_whitespace().next().context("no VmHWM")?.parse()?;
    Ok(kib * 1024)
}

/// A file that nothing makes smaller; its digest.
fn make_layer(path: &Path, mib: u64) -> Result<String> {
    let bytes = (mib * MIB).to_string();
    other(&["sh", "-c", "head -c \"$1\" /dev/urandom >\"$2\"", "make", &bytes, &path.to_string_lossy()])?;
    let sum = other(&["sha256sum", &path.to_string_lossy()])?;
    let text = String::from_utf8_lossy(&sum.stdout).into_owned();
    Ok(format!("sha256:{}", text.split_whitespace().next().context("sha256sum says nothing")?))
}
