//! A host without a coordinator, and a host that is to be as if nothing of ours had ever been on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use coord_tests::cgroup::Group;
use coord_tests::fleet::{FLEET_LIMIT, free_port};
use coord_tests::image::web;
use coord_tests::process::{Place, Process, describe};
use coord_tests::registry::TestRegistry;
use coord_tests::wait::{stays, wait_until};
use coord_tests::{binaries, config, http, need_root};
use tempfile::TempDir;

/// One host, its folder of documents, and a registry.
pub(super) struct Alone {
    // In the order of their end.
    pub(super) agent: Option<Process>,
    group: Group,
    pub(super) registry: TestRegistry,
    dir: TempDir,
}

impl Alone {
    pub(super) fn start() -> Result<Alone> {
        need_root();
        let dir = tempfile::Builder::new().prefix("coord-alone-").tempdir()?;
        fs::create_dir(dir.path().join("desired"))?;
        let registry = TestRegistry::start()?;
        registry.push(&web::image("1")?, "demo/web", "1")?;
        let mut alone = Alone { agent: None, group: Group::create()?, registry, dir };
        alone.configure()?;
        alone.start_agent()?;
        Ok(alone)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self) -> Result<()> {
        let text = config::Agent {
            host: "lonely",
            labels: &[],
            coordinator: None,
            token: "",
            ca: None,
            state_dir: &self.path("state"),
            run_dir: &self.path("run"),
            helpers: &binaries::helpers(),
            registries: &[self.registry.authority().to_owned()],
            images: config::Images::default(),
            tables: "",
        };
        Ok(fs::write(self.path("agent.toml"), text.to_toml())?)
    }

    pub(super) fn start_agent(&mut self) -> Result<()> {
        let program = binaries::path("coord-agent")?;
        let (config, desired) = (self.path("agent.toml"), self.path("desired"));
        let argv = [&program, "daemon", "--config", &config.to_string_lossy(), "--state", &desired.to_string_lossy()];
        self.agent = Some(Process::start("agent", &argv, &self.place(), &self.path("agent.log"))?);
        Ok(())
    }

    fn place(&self) -> Place {
        Place { cgroups: self.group.dirs().to_vec(), ..Place::default() }
    }

    pub(super) fn write(&self, address: &str, greeting: &str) -> Result<()> {
        let image = self.registry.reference("demo/web", "1");
        let text = format!(
            "image = {image:?}\nhosts = [\"*\"]\nnetwork = \"host\"\nenvironment = {{ GREETING = {greeting:?}, LISTEN = {address:?} }}\n"
        );
        let draft = self.path("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, self.path("desired/web.toml"))?)
    }

    /// Runs another command of the agent's program on this host.
    pub(super) fn command(&self, words: &[&str]) -> Result<std::process::Output> {
        let (program, config) = (binaries::path("coord-agent")?, self.path("agent.toml"));
        let config = config.to_string_lossy();
        let argv = [&[program.as_str()], words, &["--config", &config]].concat();
        self.place().run(&argv)
    }

    fn purge(&self) -> Result<std::process::Output> {
        self.command(&["purge"])
    }
}

pub(super) fn wait_page(url: &str, begin: &str) -> Result<()> {
    wait_until(FLEET_LIMIT, &format!("{url} says {begin:?}"), || {
        http::get(url).is_ok_and(|answer| answer.text().starts_with(begin))
    })
}

/// Mounts below a folder, in this test's mount namespace.
fn mounts_below(dir: &Path) -> Result<usize> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(dir)).count())
}

/// Folders below those of the host's group, in all hierarchies.
fn groups_below(group: &Group) -> Vec<PathBuf> {
    let below = group.dirs().iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn a_folder_of_documents_is_enough() -> Result<()> {
    let mut alone = Alone::start()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}/");
    alone.write(&address, "Hello")?;
    wait_page(&url, "Hello from web 1")?;
    alone.write(&address, "Good day")?;
    wait_page(&url, "Good day from web 1")?;

    // The registry may be gone, and the agent come and go: nothing has changed.
    drop(alone.agent.take().map(Process::kill));
    alone.start_agent()?;
    stays(Duration::from_secs(2), "the page is served throughout", || http::get(&url).is_ok())?;

    fs::write(alone.path("desired/web.toml"), "image = 5\n")?;
    wait_until(FLEET_LIMIT, "the mistake is told", || {
        alone.agent.as_ref().is_some_and(|agent| agent.log().contains("web.toml:1:9"))
    })?;
    assert!(http::get(&url).is_ok(), "what ran, runs on");
    fs::remove_file(alone.path("desired/web.toml"))?;
    wait_until(FLEET_LIMIT, "nobody listens any more", || http::get(&url).is_err())?;
    wait_until(FLEET_LIMIT, "the container is removed", || {
        fs::read_dir(alone.path("run/c")).is_ok_and(|mut entries| entries.next().is_none())
    })
}

#[test]
fn purge_leaves_nothing() -> Result<()> {
    let mut alone = Alone::start()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}/");
    alone.write(&address, "Hello")?;
    wait_page(&url, "Hello")?;
    assert!(mounts_below(alone.dir.path())? + groups_below(&alone.group).len() > 0, "there is something to remove");

    let refused = alone.purge()?;
    assert!(!refused.status.success(), "not under a running agent");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another coord-agent runs"), "{}", describe(&refused));
    assert!(http::get(&url).is_ok());

    drop(alone.agent.take().map(Process::stop));
    assert!(http::get(&url).is_ok(), "ending the agent ends no container");
    let purged = alone.purge()?;
    assert!(purged.status.success(), "{}", describe(&purged));
    assert!(http::get(&url).is_err());
    assert_eq!(mounts_below(alone.dir.path())?, 0);
    assert_eq!(alone.group.pids(), []);
    assert_eq!(groups_below(&alone.group), Vec::<PathBuf>::new());
    assert!(!alone.path("state").exists() && !alone.path("run").exists());

    // And once more, where there is nothing: that is no mistake.
    let purged = alone.purge()?;
    assert!(purged.status.success(), "{}", describe(&purged));
    assert!(!alone.path("state").exists() && !alone.path("run").exists());
    Ok(())
}
