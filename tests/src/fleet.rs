//! A whole fleet for one test: a registry, a coordinator, agents, and `coordctl` to ask them.
//!
//! Every daemon is a process of its own, with folders of its own, so each can be killed and started again. The agents
//! are either plain processes (quick; fifty of them fit), or run on the hosts of a [`NetLab`] (cables and power).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use crate::cgroup::{self, Group};
use crate::hosts::{NetLab, SWITCH_ADDRESS};
use crate::process::{Place, Process, describe};
use crate::registry::TestRegistry;
use crate::tls::Tls;
use crate::{binaries, config, http, images, wait};

pub mod line;
pub mod view;

/// For anything that the fleet does by itself: an answer of the coordinator, a container that starts or stops.
/// Generous, because the machine may be building something at the same time; no test waits longer than it must.
pub const FLEET_LIMIT: Duration = Duration::from_secs(60);

/// How the tokens of agents begin.
const AGENT_TOKEN: &str = "coord-agent-";
/// Inside a lab every address is free.
const LAB_PORT: u16 = 7400;

/// Limits that hostile steps meet soon, and honest ones never.
const BUILDER: &str = "\n[builder]\nmemory = \"256MiB\"\npids = 64\ndisk = \"64MiB\"\n";

/// What to start.
pub struct Plan {
    hosts: Vec<(String, Vec<(String, String)>)>,
    namespaces: bool,
    registries: Vec<String>,
    images: config::Images<'static>,
    disk_mib: Option<u64>,
    shared: Option<config::SharedRegistry>,
    tables: String,
    secrets: Vec<(String, String)>,
    builders: Vec<usize>,
}

impl Plan {
    /// `count` agents called `h0`, `h1`, ... as plain processes.
    pub fn processes(count: usize) -> Plan {
        let hosts = (0..count).map(|number| (format!("h{number}"), Vec::new())).collect();
        Plan {
            hosts,
            namespaces: false,
            registries: Vec::new(),
            images: config::Images::default(),
            disk_mib: None,
            shared: None,
            tables: String::new(),
            secrets: Vec::new(),
            builders: Vec::new(),
        }
    }

    /// `count` agents, each on a host of its own.
    pub fn hosts(count: usize) -> Plan {
        Plan { namespaces: true, ..Plan::processes(count) }
    }

    /// Gives a host a label.
    pub fn label(mut self, number: usize, key: &str, value: &str) -> Plan {
        self.hosts[number].1.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A host that builds, and is labelled so.
    pub fn builder(mut self, number: usize) -> Plan {
        self.builders.push(number);
        self.label(number, "builder", "true")
    }

    /// A file in the coordinator's folder of secrets.
    pub fn secret(mut self, name: &str, secret: &str) -> Plan {
        self.secrets.push((name.to_owned(), secret.to_owned()));
        self
    }

    /// Tables of the coordinator's configuration that only some tests need, as text: `[centre]`, `[smtp]`.
    pub fn coordinator(mut self, tables: &str) -> Plan {
        self.tables.push_str(tables);
        self
    }

    /// A registry besides the fleet's own that coordinator and agents may ask by plain HTTP.
    pub fn registry(mut self, authority: &str) -> Plan {
        self.registries.push(authority.to_owned());
        self
    }

    /// The `[images]` of every agent.
    pub fn images(self, images: config::Images<'static>) -> Plan {
        Plan { images, ..self }
    }

    /// Gives every agent's state a file system of its own, of so many MiB.
    pub fn disk(self, mib: u64) -> Plan {
        Plan { disk_mib: Some(mib), ..self }
    }

    /// A registry that only the coordinator is configured for; it shares its login with the hosts.
    pub fn shared_registry(self, registry: config::SharedRegistry) -> Plan {
        Plan { shared: Some(registry), ..self }
    }

    /// Starts everything and waits until the coordinator answers.
    pub fn start(self) -> Result<Fleet> {
        Fleet::start(self)
    }
}

/// A running fleet. Dropping it ends all processes and containers and removes all files.
pub struct Fleet {
    // In the order of their end: what runs, where it runs, what it was served from, its files.
    agents: Vec<Agent>,
    coordinator: Option<Process>,
    lab: Option<NetLab>,
    pub registry: TestRegistry,
    registries: Vec<String>,
    /// What [`Fleet::configure_agent`] writes from now on.
    pub images: config::Images<'static>,
    disk_mib: Option<u64>,
    shared: Option<config::SharedRegistry>,
    tables: String,
    has_secrets: bool,
    builders: Vec<usize>,
    url: String,
    tls: Option<Tls>,
    dir: Dir,
}

/// One agent and where it lives.
pub struct Agent {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    token: String,
    process: Option<Process>,
    /// Of an agent that is a plain process; a host of a lab has one itself.
    group: Option<Group>,
}

impl Agent {
    /// What it shows to the coordinator.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Everything that runs on the host, the agent itself included. Only of an agent that is a plain process.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// The running agent.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("the agent of {} does not run", self.name))
    }

    /// The agent, to see whether it has ended.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}

/// The fleet's files, unmounted and removed at the end.
struct Dir(TempDir);

impl Fleet {
    fn start(plan: Plan) -> Result<Fleet> {
        crate::need_root();
        cgroup::sweep()?;
        let dir = Dir(tempfile::Builder::new().prefix("coord-fleet-").tempdir()?);
        let lab = if plan.namespaces { Some(NetLab::start(plan.hosts.len())?) } else { None };
        let tls = match lab {
            Some(_) => Some(Tls::create(&dir.path().join("tls"), SWITCH_ADDRESS)?),
            None => None,
        };
        let registry = match &lab {
            Some(lab) => TestRegistry::start_at(&format!("{SWITCH_ADDRESS}:5000"), &lab.switch())?,
            None => TestRegistry::start()?,
        };
        let url = match lab {
            Some(_) => format!("https://{SWITCH_ADDRESS}:{LAB_PORT}"),
            None => format!("http://127.0.0.1:{}", free_port()?),
        };
        let mut registries = vec![registry.authority().to_owned()];
        registries.extend(plan.registries);
        let mut fleet = Fleet {
            agents: Vec::new(),
            coordinator: None,
            lab,
            registry,
            registries,
            images: plan.images,
            disk_mib: plan.disk_mib,
            shared: plan.shared,
            tables: plan.tables,
            has_secrets: !plan.secrets.is_empty(),
            builders: plan.builders,
            url,
            tls,
            dir,
        };
        fs::create_dir(fleet.documents())?;
        fs::create_dir(fleet.pipelines())?;
        fs::create_dir(fleet.secrets())?;
        for (name, secret) in &plan.secrets {
            fleet.write_secret(name, secret)?;
        }
        fleet.start_coordinator()?;
        for (name, labels) in plan.hosts {
            fleet.add_agent(name, labels)?;
        }
        Ok(fleet)
    }

    /// The folder that the coordinator watches.
    pub fn documents(&self) -> PathBuf {
        self.dir.path().join("desired")
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("coordinator")
    }

    /// Writes a document as an editor does: complete, then renamed to its place.
    pub fn write_document(&self, workload: &str, text: &str) -> Result<()> {
        let path = self.documents().join(format!("{workload}.toml"));
        let draft = self.dir.path().join(format!("{workload}.draft"));
        fs::write(&draft, text)?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    pub fn delete_document(&self, workload: &str) -> Result<()> {
        let path = self.documents().join(format!("{workload}.toml"));
        fs::remove_file(&path).with_context(|| format!("delete {}", path.display()))
    }

    /// Starts the coordinator and waits until it answers.
    pub fn start_coordinator(&mut self) -> Result<()> {
        let file = self.configure_coordinator()?;
        let argv = [&binaries::path("coordinator")?, "--config", &file.to_string_lossy()];
        let log = self.dir.path().join("coordinator.log");
        let process = Process::start("coordinator", &argv, &self.place(), &log)?;
        let answers = wait::wait_until(FLEET_LIMIT, "the coordinator answers", || self.is_up());
        answers.with_context(|| format!("the coordinator says:\n{}", process.log()))?;
        self.coordinator = Some(process);
        Ok(())
    }

    /// Gives the shared registry another password, as an operator does: in the coordinator's configuration, while it runs.
    pub fn change_password(&mut self, password: &str) -> Result<()> {
        let shared = self.shared.as_mut().context("this fleet has no shared registry")?;
        password.clone_into(&mut shared.password);
        self.configure_coordinator().map(drop)
    }

    /// Writes the coordinator's configuration and gives its path.
    fn configure_coordinator(&self) -> Result<PathBuf> {
        let secrets = self.has_secrets.then(|| self.secrets());
        let text = config::Coordinator {
            listen: self.url.rsplit('/').next().unwrap_or_default(),
            data_dir: &self.data_dir(),
            documents: &self.documents(),
            registries: &self.registries,
            shared: self.shared.as_ref(),
            tls: self.tls.as_ref().map(|tls| (tls.certificate.as_path(), tls.key.as_path())),
            secrets: secrets.as_deref(),
            tables: &self.tables,
        };
        let file = self.dir.path().join("coordinator.toml");
        let draft = file.with_extension("draft");
        fs::write(&draft, text.to_toml())?;
        fs::rename(&draft, &file).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// `kill -9`.
    pub fn kill_coordinator(&mut self) -> Result<()> {
        self.coordinator.take().context("the coordinator does not run")?.kill()
    }

    pub fn coordinator(&self) -> Result<&Process> {
        self.coordinator.as_ref().context("the coordinator does not run")
    }

    fn is_up(&self) -> bool {
        if self.lab.is_some() {
            return self.coordctl(&["status"]).is_ok_and(|output| output.status.success());
        }
        http::get(&format!("{}/healthz", self.url)).is_ok_and(|answer| answer.status == 200)
    }

    /// Makes a host known to the coordinator, and gives the token of its agent.
    pub fn add_host(&self, name: &str) -> Result<String> {
        let output = self.coordctl(&["hosts", "add", name])?;
        if !output.status.success() {
            bail!("coordctl hosts add {name}: {}", describe(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let start = text.find(AGENT_TOKEN).context("coordctl hosts add shows no token")?;
        let of_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        Ok(text[start..].chars().take_while(|c| of_token(*c)).collect())
    }

    /// One more agent, on a host that is made known first.
    pub fn add_agent(&mut self, name: String, labels: Vec<(String, String)>) -> Result<()> {
        let number = self.agents.len();
        let home = match &self.lab {
            Some(lab) => lab.host(number).disk().to_owned(),
            None => self.dir.path().join(&name),
        };
        let group = if self.lab.is_some() { None } else { Some(Group::create()?) };
        let (state_dir, run_dir) = (home.join("state"), home.join("run"));
        fs::create_dir_all(&home)?;
        if let Some(mib) = self.disk_mib {
            make_disk(&home.join("disk"), &state_dir, mib)?;
        }
        let token = self.add_host(&name)?;
        self.agents.push(Agent { name, labels, state_dir, run_dir, token, process: None, group });
        self.start_agent(number)
    }

    /// Writes an agent's configuration, with its labels as they are now, and gives its path. A running agent notices.
    pub fn configure_agent(&self, number: usize) -> Result<PathBuf> {
        let agent = &self.agents[number];
        let text = config::Agent {
            host: &agent.name,
            labels: &agent.labels,
            coordinator: Some(&self.url),
            token: &agent.token,
            ca: self.tls.as_ref().map(|tls| tls.ca.as_path()),
            state_dir: &agent.state_dir,
            run_dir: &agent.run_dir,
            helpers: &binaries::helpers(),
            registries: &self.registries,
            images: self.images,
            tables: if self.builders.contains(&number) { BUILDER } else { "" },
        };
        let file = agent.state_dir.with_file_name("agent.toml");
        let draft = file.with_extension("draft");
        fs::write(&draft, text.to_toml())?;
        fs::rename(&draft, &file).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// Starts an agent that does not run.
    pub fn start_agent(&mut self, number: usize) -> Result<()> {
        let file = self.configure_agent(number)?;
        let agent = &self.agents[number];
        let place = match (&self.lab, &agent.group) {
            (Some(lab), _) => lab.host(number).place()?,
            (None, Some(group)) => Place { cgroups: group.dirs().to_vec(), ..Place::default() },
            (None, None) => Place::default(),
        };
        let argv = [&binaries::path("coord-agent")?, "daemon", "--config", &file.to_string_lossy()];
        let log = agent.state_dir.with_file_name("agent.log");
        let name = format!("agent of {}", agent.name);
        self.agents[number].process = Some(Process::start(&name, &argv, &place, &log)?);
        Ok(())
    }

    /// `kill -9` of the agent alone; its containers are not its own.
    pub fn kill_agent(&mut self, number: usize) -> Result<()> {
        let process = self.agents[number].process.take();
        process.context("the agent does not run")?.kill()
    }

    /// `coord-agent image ARGS` on an agent's host, however it ends.
    pub fn image(&self, number: usize, args: &[&str]) -> Result<Output> {
        let (program, config) = (binaries::path("coord-agent")?, self.agents[number].state_dir.with_file_name("agent.toml"));
        let config = config.to_string_lossy();
        let line = [&[program.as_str(), "image"], args, &["--config", &config]].concat();
        Place::default().run(&line)
    }

    /// Starts an agent anew, whatever became of the one before.
    pub fn restart_agent(&mut self, number: usize) -> Result<()> {
        self.agents[number].process = None;
        self.start_agent(number)
    }

    pub fn agent(&self, number: usize) -> &Agent {
        &self.agents[number]
    }

    pub fn agent_mut(&mut self, number: usize) -> &mut Agent {
        &mut self.agents[number]
    }

    pub fn lab(&mut self) -> Result<&mut NetLab> {
        self.lab.as_mut().context("this fleet has no hosts of its own")
    }

    /// Where coordinator, registry and `coordctl` run.
    pub fn place(&self) -> Place {
        self.lab.as_ref().map_or_else(Place::default, NetLab::switch)
    }

    /// Makes versions of the demonstration image and pushes them to the fleet's registry as `demo/web:VERSION`.
    pub fn push_web(&self, versions: &[&str]) -> Result<()> {
        // By a program of its own, because in a lab the registry is not on the test's network.
        let program = binaries::path("coord-testimage")?;
        let args = [&[program.as_str(), self.registry.authority(), "demo/web"], versions].concat();
        let output = self.place().run(&args)?;
        if !output.status.success() {
            bail!("push demo/web: {}", describe(&output));
        }
        Ok(())
    }

    /// `demo/web:VERSION` in the fleet's registry.
    pub fn web(&self, version: &str) -> String {
        self.registry.reference("demo/web", version)
    }

    /// Where the coordinator answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs `coordctl` as the fleet's admin.
    pub fn coordctl(&self, args: &[&str]) -> Result<Output> {
        self.coordctl_to_start(args)?.output().with_context(|| format!("run coordctl {args:?}"))
    }

    /// The same, for whoever wants to talk to it while it runs.
    pub fn coordctl_to_start(&self, args: &[&str]) -> Result<Command> {
        let mut command = self.coordctl_command(args)?;
        if let Some(tls) = &self.tls {
            command.env("COORD_CA", &tls.ca);
        }
        Ok(command)
    }

    /// The same as somebody who does not know the authority of a lab's coordinator.
    pub fn coordctl_without_authority(&self, args: &[&str]) -> Result<Output> {
        self.coordctl_command(args)?.output().with_context(|| format!("run coordctl {args:?}"))
    }

    fn coordctl_command(&self, args: &[&str]) -> Result<Command> {
        let program = binaries::path("coordctl")?;
        let mut command = self.place().command(&[&[program.as_str()], args].concat());
        command.env("COORD_URL", &self.url).env("COORD_TOKEN_FILE", self.data_dir().join("admin-token"));
        Ok(command)
    }
}

/// A small file system in a file, mounted; unmounted with everything else below the fleet's folder.
fn make_disk(file: &Path, at: &Path, mib: u64) -> Result<()> {
    fs::create_dir(at)?;
    fs::File::create(file)?.set_len(mib * 1024 * 1024)?;
    let (file, at) = (file.to_string_lossy(), at.to_string_lossy());
    // No room for root alone: what `df` shows is what there is.
    images::other(&["mkfs.ext4", "-q", "-F", "-m", "0", &file])?;
    images::other(&["mount", "-o", "loop", &file, &at]).map(drop)
}

impl Dir {
    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        unmount_below(self.path());
    }
}

/// Unmounts whatever a killed fleet has left mounted below `dir`, innermost first.
pub fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut below: Vec<&Path> = points.filter(|point| point.starts_with(dir)).collect();
    below.reverse();
    for point in below {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH) {
            crate::say(&format!("unmount {}: {error}", point.display()));
        }
    }
}

/// A port that nobody listens on right now. Only for programs that cannot say which one the kernel gave them.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}
