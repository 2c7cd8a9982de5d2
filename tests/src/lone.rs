//! One host that stands alone: an agent with a folder of documents, and a registry to pull from. No coordinator.
//!
//! For everything that is about containers and not about a fleet. The agent may live in a [`Cell`], where its networks touch
//! nothing of the machine; it may be killed and started again, also as another program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::cell::{Cell, Cgroups};
use crate::cgroup::Group;
use crate::fleet::unmount_below;
use crate::image::Image;
use crate::process::{Place, Process, describe};
use crate::registry::TestRegistry;
use crate::wait::{wait_for, wait_until};
use crate::{binaries, config, need_root};

/// For whatever the agent does by itself; the machine may be building something at the same time.
pub const LONE_LIMIT: Duration = Duration::from_secs(60);

/// See the module's description. Dropping it ends everything and removes all files.
pub struct LoneHost {
    // In the order of their end.
    agent: Option<Process>,
    pub registry: TestRegistry,
    program: PathBuf,
    helpers: PathBuf,
    cell: Option<Cell>,
    group: Group,
    /// More of `agent.toml`.
    extra: String,
    dir: Dir,
}

struct Dir(TempDir);

impl Drop for Dir {
    fn drop(&mut self) {
        unmount_below(self.0.path());
    }
}

/// What is known of a running container without asking the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `web.0-r1-1`.
    pub id: String,
    /// Its first process.
    pub init: Option<i32>,
    pub monitor: Option<i32>,
}

impl LoneHost {
    /// On the machine's own network.
    pub fn new() -> Result<LoneHost> {
        LoneHost::with(None, "")
    }

    /// In a cell, so that its networks are its own.
    pub fn in_cell() -> Result<LoneHost> {
        LoneHost::with(Some(Cell::start(Cgroups::AsTheyAre)?), "")
    }

    /// With more lines of `agent.toml`. The agent does not run yet.
    pub fn with(cell: Option<Cell>, extra: &str) -> Result<LoneHost> {
        need_root();
        crate::cgroup::sweep()?;
        let group = Group::create()?;
        // On a disk, as hosts have it: an overlay does not take every file system as its upper layer.
        let dir = Dir(tempfile::Builder::new().prefix("coord-lone-").tempdir_in("/var/tmp")?);
        fs::create_dir(dir.0.path().join("desired"))?;
        let place = cell.as_ref().map_or_else(Place::default, Cell::place);
        let registry = TestRegistry::start_at("127.0.0.1:0", &place)?;
        let program = PathBuf::from(binaries::path("coord-agent")?);
        let extra = extra.to_owned();
        Ok(LoneHost { agent: None, registry, program, helpers: binaries::helpers(), cell, group, extra, dir })
    }

    /// In the host's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.0.path().join(name)
    }

    /// Everything that the agent has started, itself included.
    pub fn group(&self) -> &Group {
        &self.group
    }

    pub fn cell(&mut self) -> Option<&mut Cell> {
        self.cell.as_mut()
    }

    /// Does something with the cell, where there is one.
    pub fn with_cell(&self, act: impl FnOnce(&Cell) -> Result<()>) -> Result<()> {
        self.cell.as_ref().map_or(Ok(()), act)
    }

    /// The process that holds the cell open, where there is one.
    pub fn holder(&self) -> Option<Pid> {
        self.cell.as_ref().map(Cell::holder)
    }

    /// From now on the agent is this program with these helpers.
    pub fn use_programs(&mut self, program: &Path, helpers: &Path) {
        (self.program, self.helpers) = (program.to_owned(), helpers.to_owned());
    }

    /// Where its network is, if that is its own.
    pub fn cell_place(&self) -> Option<Place> {
        self.cell.as_ref().map(Cell::place)
    }

    /// Where its agent runs.
    pub fn place(&self) -> Place {
        let inner = self.cell.as_ref().map_or_else(Place::default, Cell::place);
        Place { cgroups: self.group.dirs().to_vec(), ..inner }
    }

    /// Pushes an image as `NAME:1`; the reference.
    pub fn push(&self, image: &Image, name: &str) -> Result<String> {
        if self.cell.is_none() {
            return self.registry.push(image, name, "1");
        }
        let layout = self.path(&format!("layout-{name}"));
        image.save(&layout)?;
        self.push_layout(&layout, name)
    }

    /// Pushes an OCI layout with one image as `NAME:1`; the reference.
    pub fn push_layout(&self, layout: &Path, name: &str) -> Result<String> {
        let reference = self.registry.reference(name, "1");
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{reference}"));
        let line = ["skopeo", "copy", "-q", "--dest-tls-verify=false", &from, &to];
        crate::cell::ok(&Place { cgroups: Vec::new(), ..self.place() }, &line)?;
        Ok(reference)
    }

    fn configure(&self) -> Result<PathBuf> {
        let text = config::Agent {
            host: "lone",
            labels: &[],
            coordinator: None,
            token: "",
            ca: None,
            state_dir: &self.path("state"),
            run_dir: &self.path("run"),
            helpers: &self.helpers,
            registries: &[self.registry.authority().to_owned()],
            images: config::Images::default(),
            tables: "",
        };
        let path = self.path("agent.toml");
        fs::write(&path, format!("{}\n{}", text.to_toml(), self.extra))?;
        Ok(path)
    }

    /// Starts the agent, which must not run.
    pub fn start_agent(&mut self) -> Result<()> {
        let (config, desired) = (self.configure()?, self.path("desired"));
        let (program, config) = (self.program.to_string_lossy().into_owned(), config.to_string_lossy().into_owned());
        let argv = [&program, "daemon", "--config", &config, "--state", &desired.to_string_lossy()];
        self.agent = Some(Process::start("agent", &argv, &self.place(), &self.path("agent.log"))?);
        Ok(())
    }

    /// Waits until the agent has read its books and does its work.
    pub fn wait_agent(&self) -> Result<()> {
        let says = || self.agent().is_ok_and(|agent| agent.log().contains("running host="));
        wait_until(LONE_LIMIT, "the agent runs", says).with_context(|| self.agent_log())
    }

    /// `kill -9`; containers run on.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent does not run")?.kill()
    }

    /// SIGTERM; containers run on.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent does not run")?.stop().map(drop)
    }

    pub fn agent(&self) -> Result<&Process> {
        self.agent.as_ref().context("the agent does not run")
    }

    /// Whether it runs; not if it has ended by itself.
    pub fn agent_runs(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| agent.ended().is_none())
    }

    /// Any other command of the agent's program on this host, to its end.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        let (program, config) = (self.program.to_string_lossy().into_owned(), self.path("agent.toml"));
        let config = config.to_string_lossy();
        let (before, after) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        let argv = [&[program.as_str()], before, &["--config", &config], after].concat();
        self.place().run(&argv)
    }

    /// As [`LoneHost::command`], where it must succeed; its standard output.
    pub fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words)?;
        if !output.status.success() {
            bail!("coord-agent {}: {}", words.join(" "), describe(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Publishes a document for this host: `text` is everything but `hosts`.
    pub fn write(&self, workload: &str, text: &str) -> Result<()> {
        let draft = self.path(&format!("{workload}.draft"));
        fs::write(&draft, format!("hosts = [\"*\"]\n{text}"))?;
        Ok(fs::rename(draft, self.path(&format!("desired/{workload}.toml")))?)
    }

    pub fn delete(&self, workload: &str) -> Result<()> {
        Ok(fs::remove_file(self.path(&format!("desired/{workload}.toml")))?)
    }

    /// Waits until every document is gone from the host: no container's folder is left.
    pub fn wait_empty(&self) -> Result<()> {
        let folders = [self.path("run/c"), self.path("state/c")];
        let empty = |dir: &PathBuf| fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
        wait_until(LONE_LIMIT, "all containers are removed", || folders.iter().all(empty)).with_context(|| self.agent_log())
    }

    /// The containers whose command was executed, by instance (`web.0`). Read from the disk: the agent need not run.
    pub fn running(&self) -> BTreeMap<String, Seen> {
        let folders = fs::read_dir(self.path("run/c")).into_iter().flatten().flatten();
        let states = folders.filter_map(|folder| {
            let path = folder.path();
            let state: Value = serde_json::from_slice(&fs::read(path.join("state.json")).ok()?).ok()?;
            let pid = |key: &str| state[key]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            let id = folder.file_name().to_string_lossy().into_owned();
            let seen = Seen { id: id.clone(), init: pid("init"), monitor: pid("monitor") };
            let alive = seen.init.is_some_and(|pid| crate::process::runs(Pid::from_raw(pid)));
            (alive && !path.join("exit.json").exists()).then(|| (instance(&id), seen))
        });
        states.collect()
    }

    /// Waits until an instance runs.
    pub fn wait_running(&self, instance: &str) -> Result<Seen> {
        let seen = wait_for(LONE_LIMIT, &format!("{instance} runs"), || self.running().remove(instance));
        seen.with_context(|| self.agent_log())
    }

    /// The messages that an instance wrote, oldest first, of all files that are still there.
    pub fn messages(&self, instance: &str) -> Vec<String> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("state/log"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{instance}.jsonl"))))
            .collect();
        // The current file has no number; the highest number is the oldest.
        let age = |path: &PathBuf| path.extension().and_then(|end| end.to_string_lossy().parse::<u32>().ok()).unwrap_or(0);
        files.sort_by_key(|path| std::cmp::Reverse(age(path)));
        let lines = files.iter().filter_map(|path| fs::read_to_string(path).ok());
        let lines = lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()?["m"].as_str().map(str::to_owned)).collect()
    }

    /// The end of the agent's log.
    pub fn agent_log(&self) -> String {
        const LINES_MAX: usize = 25;
        let text = fs::read_to_string(self.path("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the agent says:\n{}", lines[lines.len().saturating_sub(LINES_MAX)..].join("\n"))
    }
}

/// `web.0-r3-1` is a container of `web.0`.
pub fn instance(id: &str) -> String {
    id.rsplitn(3, '-').last().unwrap_or(id).to_owned()
}
