//! The isolation table: what a container can do that it should not, with docker's defaults, podman's, and ours.
//!
//! `coord-probe` runs inside each and tries every line; a container of docker's that may do nearly everything stands
//! beside them, to show that the probe can tell. A line on which ours is more open than any other engine at its defaults is named at the end,
//! and makes the run fail.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::cell::host_namespaces;
use coord_tests::image::Layer;
use coord_tests::lone::LoneHost;
use coord_tests::probe::{self, Finding, HOST_VARIABLE};
use coord_tests::process::describe;
use coord_tests::say;
use coord_tests::wait::wait_until;

use crate::rivals::{Kind, Rival, limits};
use crate::table::{self, Table};

pub(crate) const USAGE: &str = "       coord-bench isolation";

/// A fork bomb of some thousand processes takes a while.
const PROBE_LIMIT: Duration = Duration::from_secs(180);
/// The memory bomb takes four times as much.
const MEMORY_MIB: usize = 64;
/// The catcher looks for this long; meanwhile commands are run in its container.
const CATCH_SECONDS: u32 = 6;
const CATCH_COMMANDS: usize = 8;

/// A container that may do nearly everything, to show that the probe can tell. Not `--privileged`, which asks for more than the root of some
/// machines has.
const CONTROL: &str = "docker, loosened";
const LOOSENED: [&str; 14] = [
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--cap-add=SYS_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--cap-add=SYS_MODULE",
    "--cap-add=SYS_RAWIO",
    "--cap-add=SYS_BOOT",
    "--cap-add=SYS_TIME",
    "--cap-add=SYS_NICE",
    "--cap-add=SYS_PACCT",
    "--cap-add=SYSLOG",
    "--cap-add=NET_ADMIN",
    "--cap-add=DAC_READ_SEARCH",
    "--ipc=host",
];

type Findings = BTreeMap<String, Finding>;

/// How one container differs from an engine's defaults.
#[derive(Default)]
struct Run<'a> {
    words: &'a [&'a str],
    memory: bool,
    working_dir: Option<&'a str>,
    loosened: bool,
}

/// An image that tries something before its program runs, and the lines that tell whether it worked.
struct Trick {
    name: &'static str,
    what: &'static str,
    lines: &'static [&'static str],
    layer: fn() -> Result<Layer>,
}

/// What images put in the way of what engines mount.
const TRICKS: &[Trick] = &[
    Trick {
        name: "image-null",
        what: "/dev/null of the image is a link to a kernel file (CVE-2025-31133)",
        lines: &["null-is-null", "masks", "proc-sys", "sysrq", "kcore"],
        layer: || Layer::default().whiteout("dev")?.dir("dev", 0o755)?.symlink("dev/null", "/proc/sysrq-trigger"),
    },
    Trick {
        name: "image-console",
        what: "/dev/console and /dev/pts of the image are links (CVE-2025-52565)",
        lines: &["console", "null-is-null", "proc-sys"],
        layer: || {
            let layer = Layer::default().whiteout("dev")?.dir("dev", 0o755)?;
            layer.symlink("dev/console", "/proc/sys/kernel/core_pattern")?.symlink("dev/pts", "/proc")
        },
    },
    Trick {
        name: "image-proc",
        what: "/proc of the image is a link (CVE-2025-52881)",
        lines: &["proc-is-proc", "proc-sys", "sysrq", "kcore"],
        layer: || Layer::default().whiteout("proc")?.dir("elsewhere", 0o755)?.symlink("proc", "elsewhere"),
    },
    Trick {
        name: "image-sys",
        what: "/sys of the image is a link",
        lines: &["sys-is-sys", "sysfs", "firmware"],
        layer: || Layer::default().whiteout("sys")?.dir("elsewhere", 0o755)?.symlink("sys", "elsewhere"),
    },
];

/// Who runs containers here.
enum Engine {
    Rival(Box<Rival>),
    Ours(Box<LoneHost>),
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    if !words.is_empty() {
        bail!("unknown: {}\n{USAGE}", words.join(" "));
    }
    let mut columns: Vec<(&str, Findings)> = Vec::new();
    for kind in [Kind::Docker, Kind::Podman] {
        if let Some(why) = kind.missing() {
            say(&format!("{}: {why}", kind.name()));
            continue;
        }
        say(kind.name());
        let engine = Engine::Rival(Box::new(kind.start()?));
        columns.push((kind.name(), all(&engine).with_context(|| kind.name())?));
        if kind == Kind::Docker {
            let control = Run { loosened: true, ..Run::default() };
            let found = engine.probe(&probe::image()?, "control", &control)?;
            columns.push((CONTROL, found));
        }
    }
    say("coord");
    let mut host = LoneHost::in_cell()?;
    host.start_agent()?;
    let ours = all(&Engine::Ours(Box::new(host))).context("coord")?;
    show(&ours, &columns)
}

/// Every line and every trick with one engine.
fn all(engine: &Engine) -> Result<Findings> {
    let image = probe::image()?;
    let mut found = engine.probe(&image, "all", &Run::default())?;
    if !found.contains_key(probe::LAST) {
        bail!("the probe did not come to its end; it found {} lines", found.len());
    }
    let memory = Run { words: &["memory-bomb"], memory: true, ..Run::default() };
    found.extend(engine.probe(&image, "memory", &memory)?);
    for number in [3, 5, 7, 8, 9] {
        let dir = format!("/proc/self/fd/{number}");
        let name = format!("cwd-{number}");
        let run = Run { words: &["cwd"], working_dir: Some(&dir), ..Run::default() };
        let answer = engine.probe(&image, &name, &run);
        found.insert(name.clone(), trick(&name, "working folder /proc/self/fd/N of the image (CVE-2024-21626)", answer));
    }
    // One line for the five: the worst of them.
    let worst =
        [3, 5, 7, 8, 9].iter().filter_map(|number| found.remove(&format!("cwd-{number}"))).max_by_key(|found| found.exposure);
    found.extend(worst.map(|worst| ("cwd-trick".to_owned(), Finding { name: "cwd-trick".to_owned(), ..worst })));
    for one in TRICKS {
        let image = probe::with_tricks((one.layer)()?)?;
        let answer = engine.probe(&image, one.name, &Run { words: one.lines, ..Run::default() });
        found.insert(one.name.to_owned(), trick(one.name, one.what, answer));
    }
    if let Some(caught) = engine.catch(&image)? {
        found.insert(caught.name.clone(), caught);
    }
    Ok(found)
}

/// A container that does not start is closed; else the sum of what its lines found.
fn trick(name: &str, what: &str, answer: Result<Findings>) -> Finding {
    let (exposure, detail) = match answer {
        Ok(found) if found.is_empty() => (Some(0), "refuses to start".to_owned()),
        Ok(found) => {
            let open: Vec<String> = found
                .values()
                .filter(|line| line.exposure != Some(0))
                .map(|line| format!("{}: {}", line.name, line.detail))
                .collect();
            let exposure = found.values().map(|line| line.exposure.unwrap_or(1)).sum();
            (Some(exposure), if open.is_empty() { "leads nowhere".to_owned() } else { open.join("; ") })
        }
        Err(error) => (None, format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    };
    Finding { name: name.to_owned(), chapter: "Tricks".to_owned(), what: what.to_owned(), exposure, detail }
}

impl Engine {
    /// Runs the probe in a new container to its end. Nothing is found where the container does not start.
    fn probe(&self, image: &coord_tests::image::Image, name: &str, run: &Run) -> Result<Findings> {
        match self {
            Engine::Rival(rival) => {
                let reference = rival.load(image, name)?;
                let variable = format!("{HOST_VARIABLE}={}", host_namespaces());
                let memory = format!("{MEMORY_MIB}m");
                let mut words = vec!["run", "--rm", "-e", &variable];
                if run.memory {
                    words.extend(["--memory", &memory, "--memory-swap", &memory]);
                }
                if run.loosened {
                    words.extend(LOOSENED);
                }
                words.extend(run.working_dir.into_iter().flat_map(|dir| ["--workdir", dir]));
                words.extend(limits(rival.kind));
                words.extend([reference.as_str(), "/probe"]);
                words.extend(run.words);
                let output = rival.run(&words)?;
                let found = probe::findings(&String::from_utf8_lossy(&output.stdout));
                if found.is_empty() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let why = said.lines().find(|line| line.contains("rror")).unwrap_or_default();
                    say(&format!("{} does not start {name}: {why}", rival.kind.name()));
                }
                Ok(found)
            }
            Engine::Ours(host) => probe_ours(host, image, name, run),
        }
    }

    /// Commands run in a container whose program lies in wait for the engine's own. `None` where the engine cannot run any.
    fn catch(&self, image: &coord_tests::image::Image) -> Result<Option<Finding>> {
        let seconds = CATCH_SECONDS.to_string();
        match self {
            Engine::Rival(rival) => {
                let reference = rival.load(image, "catch")?;
                let mut words = vec!["run", "-d", "--name", "catch"];
                words.extend(limits(rival.kind));
                rival.ok(&[words.as_slice(), &[&reference, "/probe", "catch", &seconds]].concat())?;
                for _ in 0..CATCH_COMMANDS {
                    rival.ok(&["exec", "catch", "/bin/true"])?;
                }
                rival.ok(&["wait", "catch"])?;
                Ok(probe::findings(&rival.ok(&["logs", "catch"])?).into_values().next())
            }
            Engine::Ours(host) => {
                let reference = host.push(image, "catch")?;
                host.write(
                    "catch",
                    &format!("image = {reference:?}\nrestart = \"no\"\ncommand = [\"/probe\", \"catch\", {seconds:?}]\n"),
                )?;
                host.wait_running("catch.0")?;
                for _ in 0..CATCH_COMMANDS {
                    let output = host.command(&["exec", "catch.0", "--", "/bin/true"])?;
                    if !output.status.success() {
                        say(&format!("coord-agent exec: {}", describe(&output)));
                        return Ok(None);
                    }
                }
                wait_until(PROBE_LIMIT, "the catcher ends", || {
                    host.messages("catch.0").iter().any(|line| line.contains("engine-program"))
                })?;
                Ok(probe::findings(&host.messages("catch.0").join("\n")).into_values().next())
            }
        }
    }
}

fn probe_ours(host: &LoneHost, image: &coord_tests::image::Image, name: &str, run: &Run) -> Result<Findings> {
    let reference = host.push(image, name)?;
    let command = [&["/probe"], run.words].concat();
    let mut text = format!(
        "image = {reference:?}\nrestart = \"no\"\ncommand = {command:?}\nenvironment = {{ {HOST_VARIABLE} = {:?} }}\n",
        host_namespaces()
    );
    if let Some(dir) = run.working_dir {
        text.push_str(&format!("working_dir = {dir:?}\n"));
    }
    if run.memory {
        text.push_str(&format!("[resources]\nmemory = \"{MEMORY_MIB}MiB\"\n"));
    }
    host.write(name, &text)?;
    let instance = format!("{name}.0");
    let last = run.words.last().copied().unwrap_or(probe::LAST);
    let refused = || host.agent_log().contains(&format!("start failed container={instance}-"));
    wait_until(PROBE_LIMIT, &format!("{instance} has found {last}"), || {
        probe::findings(&host.messages(&instance).join("\n")).contains_key(last) || refused()
    })
    .with_context(|| host.agent_log())?;
    let found = probe::findings(&host.messages(&instance).join("\n"));
    host.delete(name)?;
    Ok(found)
}

/// The table, and the verdict.
fn show(ours: &Findings, others: &[(&str, Findings)]) -> Result<()> {
    let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
    let mut chapters: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    ours.values().for_each(|finding| chapters.entry(&finding.chapter).or_default().push(finding));
    let mut tables = Vec::new();
    let mut weaker = Vec::new();
    for (chapter, findings) in chapters {
        let mut table = Table::new(&[&["line", "what is tried", "coord"], names.as_slice()].concat());
        for finding in findings {
            let theirs: Vec<Option<&Finding>> = others.iter().map(|(_, found)| found.get(&finding.name)).collect();
            let cells = theirs.iter().map(|found| found.map_or_else(|| "-".to_owned(), cell));
            let row: Vec<String> =
                [format!("`{}`", finding.name), finding.what.clone(), cell(finding)].into_iter().chain(cells).collect();
            table.row(&row);
            // The container without isolation is no yardstick.
            let strictest = others
                .iter()
                .filter(|(name, _)| *name != CONTROL)
                .filter_map(|(_, found)| found.get(&finding.name)?.exposure)
                .min();
            let own = finding.exposure.unwrap_or(u64::MAX);
            if strictest.is_some_and(|strictest| own > strictest) {
                weaker.push(format!("{}: {} ({})", finding.name, finding.what, finding.detail));
            }
        }
        tables.push((chapter, table));
    }
    let tables: Vec<(&str, &Table)> = tables.iter().map(|(chapter, table)| (*chapter, table)).collect();
    table::print(&tables)?;
    if weaker.is_empty() {
        say(&format!("{} lines; ours is the weaker on none", ours.len()));
        return Ok(());
    }
    bail!("ours is weaker on {} of {} lines:\n{}", weaker.len(), ours.len(), weaker.join("\n"))
}

fn cell(finding: &Finding) -> String {
    let mark = match finding.exposure {
        Some(0) => "",
        Some(_) => "**open**: ",
        None => "unknown: ",
    };
    format!("{mark}{}", finding.detail.replace('|', "/"))
}
