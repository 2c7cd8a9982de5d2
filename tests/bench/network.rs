//! A web server on a published port under load: throughput, the slowest hundredth, and whose address the server sees.
//!
//! nginx from an image of the tests, `wrk` outside of the "host", a cable between them; the same for docker with and without its
//! userland proxy, podman, and ours. Everything is on one machine, so client and server share its processors: trust the ratios.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coord_tests::cell::{INSIDE, OUTSIDE, has, ok};
use coord_tests::lone::LoneHost;
use coord_tests::process::Place;
use coord_tests::say;
use coord_tests::wait::wait_until;

use crate::rivals::{Kind, limits};
use crate::table::{self, Table};

pub(crate) const USAGE: &str =
    "       coord-bench network --images DIR [--seconds N]    DIR/nginx is an OCI layout with nginx on 8080";

const PORT: u16 = 18080;
const SECONDS: u32 = 60;
/// Where nginx listens in its image.
const INNER_PORT: u16 = 8080;
const CONNECTIONS: &str = "64";

struct Load {
    requests_per_s: f64,
    p50: String,
    p99: String,
    /// Of answers that were not 2xx, and sockets that failed.
    errors: String,
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (images, seconds) = match words {
        ["--images", images] => (PathBuf::from(images), SECONDS),
        ["--images", images, "--seconds", seconds] => (PathBuf::from(images), seconds.parse().context("--seconds")?),
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    if !has("wrk") {
        bail!("wrk is not installed (package wrk)");
    }
    let layout = images.join("nginx");
    let mut table = Table::new(&["who", "requests/s", "of ours", "p50", "p99", "errors", "client address in the access log"]);
    let mut rows: Vec<(String, Result<(Load, String)>)> = vec![("**coord**".to_owned(), ours(&layout, seconds))];
    rows.push(("nginx on the host's own network".to_owned(), ours_on_host(&layout, seconds)));
    for kind in [Kind::DockerWithoutProxy, Kind::Docker, Kind::Podman] {
        let measured = kind.missing().map_or_else(|| rival(kind, &layout, seconds), |why| Err(anyhow::anyhow!(why)));
        rows.push((kind.name().to_owned(), measured));
    }
    let own = rows.first().and_then(|(_, row)| row.as_ref().ok()).map(|(load, _)| load.requests_per_s);
    for (who, row) in &rows {
        match row {
            Ok((load, client)) => {
                let ratio = own.map_or_else(|| "-".to_owned(), |own| format!("{:.2}", load.requests_per_s / own));
                table.row(&[
                    who.as_str(),
                    &format!("{:.0}", load.requests_per_s),
                    &ratio,
                    &load.p50,
                    &load.p99,
                    &load.errors,
                    client,
                ]);
            }
            Err(error) => {
                say(&format!("{who}: {error:#}"));
                let why = error.root_cause().to_string().lines().next().unwrap_or_default().to_owned();
                table.row(&[who.as_str(), &why, "-", "-", "-", "-", "-"]);
            }
        }
    }
    table::print(&[("A published port under load", &table)])
}

fn ours(layout: &Path, seconds: u32) -> Result<(Load, String)> {
    measure_ours(layout, seconds, &format!("network = \"bridge\"\nports = [\"{PORT}:{INNER_PORT}\"]\n"), PORT)
}

/// The ceiling: nothing between the client and the server.
fn ours_on_host(layout: &Path, seconds: u32) -> Result<(Load, String)> {
    measure_ours(layout, seconds, "network = \"host\"\n", INNER_PORT)
}

fn measure_ours(layout: &Path, seconds: u32, network: &str, port: u16) -> Result<(Load, String)> {
    let mut host = LoneHost::in_cell()?;
    let outside = host.cell().context("a cell")?.plug_in()?;
    let image = host.push_layout(layout, "nginx")?;
    host.start_agent()?;
    host.write("web", &format!("image = {image:?}\n{network}"))?;
    host.wait_running("web.0")?;
    let load = load(&outside, port, seconds).with_context(|| host.agent_log())?;
    let log = host.messages("web.0").join("\n");
    Ok((load, client_address(&log, || access_log(&host))))
}

/// Where nginx keeps its log in a file, in the container's upper layer.
fn access_log(host: &LoneHost) -> String {
    let folders = std::fs::read_dir(host.path("state/c")).into_iter().flatten().flatten();
    let files = folders.map(|folder| folder.path().join("upper/var/log/nginx/access.log"));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
}

fn rival(kind: Kind, layout: &Path, seconds: u32) -> Result<(Load, String)> {
    let mut rival = kind.start()?;
    let image = rival.load_layout(layout, "nginx")?;
    let outside = rival.cell().plug_in()?;
    let publish = format!("{PORT}:{INNER_PORT}");
    rival.ok(&[&["run", "-d", "--name", "web", "-p", &publish], limits(kind), &[&image]].concat())?;
    let load = load(&outside, PORT, seconds)?;
    let log = rival.ok(&["logs", "web"])?;
    let file = || rival.ok(&["exec", "web", "tail", "-n", "1", "/var/log/nginx/access.log"]).unwrap_or_default();
    Ok((load, client_address(&log, file)))
}

/// Warms up, then loads for so long.
fn load(outside: &Place, port: u16, seconds: u32) -> Result<Load> {
    let url = format!("http://{INSIDE}:{port}/");
    let probe = ["curl", "-sf", "-o", "/dev/null", "-m", "2", url.as_str()];
    wait_until(coord_tests::lone::LONE_LIMIT, &format!("{url} answers"), || {
        outside.run(&probe).is_ok_and(|output| output.status.success())
    })?;
    let wrk = |seconds: u32| ok(outside, &["wrk", "-t", "1", "-c", CONNECTIONS, "-d", &format!("{seconds}s"), "--latency", &url]);
    wrk(2)?;
    let said = wrk(seconds)?;
    let value = |key: &str| said.lines().find_map(|line| line.trim().strip_prefix(key)).map(|rest| rest.trim().to_owned());
    let errors: Vec<&str> =
        said.lines().map(str::trim).filter(|line| line.starts_with("Socket errors") || line.starts_with("Non-2xx")).collect();
    Ok(Load {
        requests_per_s: value("Requests/sec:").and_then(|text| text.parse().ok()).with_context(|| said.clone())?,
        p50: value("50%").unwrap_or_default(),
        p99: value("99%").unwrap_or_default(),
        errors: if errors.is_empty() { "none".to_owned() } else { errors.join("; ") },
    })
}

/// The first word of the last line that nginx wrote of a request.
fn client_address(log: &str, file: impl FnOnce() -> String) -> String {
    let of = |text: &str| {
        text.lines().rev().find(|line| line.contains("GET / ")).and_then(|line| line.split(' ').next()).map(str::to_owned)
    };
    match of(log).or_else(|| of(&file())) {
        Some(address) if address == OUTSIDE => format!("{address}, real"),
        Some(address) => format!("{address}, **not the client's**"),
        None => "no access log".to_owned(),
    }
}
