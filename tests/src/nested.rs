//! A host whose containers may start others within themselves: what the tests of doors, caches and second containers share.
//!
//! ```text
//! Nest ── LoneHost, no coordinator       sh(): a program in the parent, by the agent's own `exec`
//!   ├─── Door: the socket of one parent, spoken to byte by byte
//!   └─── nothing_left(): processes, mounts, groups, namespaces and folders, before and after
//! ```
//! The socket of a door is a file of the host's, too: whoever connects there is, for the agent, the container that it belongs to.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cell::{Cell, Cgroups};
use crate::http::{Answer, read_answer};
use crate::image::runner;
use crate::leaks::{Scope, Traces, leaked};
use crate::lone::{LONE_LIMIT, LoneHost};
use crate::process::describe;
use crate::wait::{wait_for, wait_until};

/// Longest silence of a door: it may pull an image, or end a container.
const DOOR_LIMIT: Duration = Duration::from_secs(60);
/// The folders of nested containers, as an agent makes them once. What is in them is counted, and they are not.
const LASTING: [&str; 8] = [
    "state/nested",
    "state/nested/c",
    "state/nested/p",
    "run/nested",
    "run/nested/c",
    "state/nested/d",
    "run/nested/images",
    "run/nested/lists",
];
/// Filters of system calls, each made once: `seccomp-0.bpf`.
const FILTER: &str = "run/nested/seccomp";
/// For an agent that tidies up; the machine may be building something at the same time.
const TIDY_LIMIT: Duration = Duration::from_secs(30);

/// See the module's description. Dropping it ends everything.
pub struct Nest {
    pub host: LoneHost,
    /// The image of parents and children, [`runner`].
    pub image: String,
    before: Traces,
}

impl Nest {
    /// An agent that runs, and the image in its registry.
    pub fn start() -> Result<Nest> {
        Nest::with(None, "", |_| Ok(()))
    }

    /// The same where mounts can be made that the machine does not see: `prepare` makes them, before the agent runs.
    pub fn in_cell(extra: &str, prepare: impl FnOnce(&LoneHost, &Cell) -> Result<()>) -> Result<Nest> {
        let cell = Cell::start(Cgroups::AsTheyAre)?;
        Nest::with(Some(cell), extra, |host| host.with_cell(|cell| prepare(host, cell)))
    }

    fn with(cell: Option<Cell>, extra: &str, prepare: impl FnOnce(&LoneHost) -> Result<()>) -> Result<Nest> {
        let mut host = LoneHost::with(cell, extra)?;
        let image = host.push(&runner::image()?, "runner")?;
        prepare(&host)?;
        host.start_agent()?;
        host.wait_agent()?;
        let mut nest = Nest { host, image, before: Traces::new() };
        nest.before = nest.traces();
        Ok(nest)
    }

    /// Publishes a parent: `nested` is its permission, `keys` more of the document.
    pub fn publish(&self, workload: &str, nested: &str, keys: &str) -> Result<()> {
        let (image, environment) = (&self.image, format!("{{ IMAGE = {:?} }}", self.image));
        let text = format!("image = {image:?}\nrestart = \"no\"\nenvironment = {environment}\n{keys}\nnested = {{ {nested} }}\n");
        self.host.write(workload, &text)
    }

    /// Publishes a parent that does nothing by itself, and waits until its door answers.
    pub fn idle(&self, workload: &str, nested: &str) -> Result<Parent<'_>> {
        self.publish(workload, nested, "")?;
        self.parent(workload)
    }

    /// Publishes a parent that runs `script`, and waits until its door is there.
    pub fn running(&self, workload: &str, nested: &str, script: &str) -> Result<Parent<'_>> {
        self.publish(workload, nested, &format!("command = [\"sh\", \"-c\", '''{script}''']"))?;
        self.parent(workload)
    }

    /// A parent that is published, once it runs.
    pub fn parent(&self, workload: &str) -> Result<Parent<'_>> {
        let instance = format!("{workload}.0");
        let seen = self.host.wait_running(&instance)?;
        let init = seen.init.context("a container that runs has a first process")?;
        // The agent hears of it a moment later.
        let knows = || {
            let all = self.host.ok(&["ps", "-o", "json"]).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
            let all = all.as_ref().and_then(Value::as_array).into_iter().flatten();
            all.into_iter().any(|row| row["instance"] == instance.as_str() && row["state"] != "starting")
        };
        wait_until(LONE_LIMIT, &format!("the agent knows that {instance} runs"), knows).with_context(|| self.host.agent_log())?;
        Ok(Parent { nest: self, instance, id: seen.id, init: Pid::from_raw(init) })
    }

    /// The same for one that may have ended meanwhile.
    pub fn parent_or_gone(&self, workload: &str) -> Option<String> {
        self.host.running().remove(&format!("{workload}.0")).map(|seen| seen.id)
    }

    fn traces(&self) -> Traces {
        let folder = self.host.path("");
        let scope =
            Scope { folder: &folder, group: self.host.group(), network: None, listed: &["run/c", "state/c", "state/volumes"] };
        let mut traces = scope.traces();
        // Images stay, mounted, for whoever is next.
        traces.retain(|trace| !trace.starts_with(&format!("mount {}", self.host.path("state/images").display())));
        for name in ["state/nested", "run/nested"] {
            files_below(&self.seen_from_agent(name), &mut traces);
        }
        traces.extend(mentioned(&folder));
        traces
    }

    /// A path of the host's folder as the agent sees it, whose table of mounts may be its own.
    pub fn seen_from_agent(&self, name: &str) -> PathBuf {
        let path = self.host.path(name);
        let outside = |pid: Pid| PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(&path));
        self.host.holder().map_or_else(|| path.clone(), outside)
    }

    /// What was made since the agent came up and is still there; folders that an agent makes once and keeps do not count.
    pub fn left(&self) -> Vec<String> {
        let lasting = LASTING.map(|name| format!("file {}", self.seen_from_agent(name).display()));
        let mut left = leaked(&self.before, &self.traces());
        // An agent that was started anew is another process in the same namespaces.
        let filter = format!("file {}", self.seen_from_agent(FILTER).display());
        left.retain(|trace| !lasting.contains(trace) && !trace.starts_with(&filter) && !self.is_group_of_all(trace));
        left.retain(|trace| !trace.starts_with("process coord-agent ") && !self.is_agent(trace));
        left
    }

    /// The groups that hold those of all containers: an agent makes them once.
    fn is_group_of_all(&self, trace: &str) -> bool {
        let path = trace.strip_prefix("cgroup ").map(Path::new);
        let below = path.and_then(|path| self.host.group().dirs().iter().find_map(|dir| path.strip_prefix(dir).ok()));
        below.is_some_and(|below| below.components().count() <= 2)
    }

    fn is_agent(&self, trace: &str) -> bool {
        let pid = self.host.agent().map(|agent| agent.pid().to_string()).unwrap_or_default();
        trace.starts_with("mentions ") && trace.ends_with(&format!(" {pid}"))
    }

    /// Waits until nothing is left of anything that was published since the start, whose documents must be deleted.
    pub fn nothing_left(&self) -> Result<()> {
        let waited = wait_until(TIDY_LIMIT, "nothing is left", || self.left().is_empty());
        waited.with_context(|| format!("left:\n{}\n{}", self.left().join("\n"), self.host.agent_log()))
    }

    /// Deletes the documents, waits until the containers are gone, and looks at what is left.
    pub fn end(&self, workloads: &[&str]) -> Result<()> {
        workloads.iter().try_for_each(|workload| self.host.delete(workload))?;
        self.host.wait_empty()?;
        self.nothing_left()
    }
}

/// A container that may start others.
#[derive(Clone)]
pub struct Parent<'a> {
    nest: &'a Nest,
    /// `runner.0`.
    pub instance: String,
    /// `runner.0-r1-1`.
    pub id: String,
    /// Its first process, as the host numbers it.
    pub init: Pid,
}

impl Parent<'_> {
    /// Runs a script in it, to its end.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.nest.host.command(&["exec", &self.instance, "--", "sh", "-c", script])
    }

    /// The same where it must succeed; its standard output.
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub fn ok(&self, script: &str) -> Result<String> {
        let output = self.sh(script)?;
        if !output.status.success() {
            bail!("{script}: {}\n{}", describe(&output), self.nest.host.agent_log());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same where it must fail; its exit code and what it said on standard error.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn fails(&self, script: &str) -> Result<(i32, String)> {
        let output = self.sh(script)?;
        if output.status.success() {
            bail!("{script}: {}", describe(&output));
        }
        let said = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        Ok((output.status.code().unwrap_or(-1), said))
    }

    /// A path in it, as the host reaches it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Its door.
    pub fn door(&self) -> Door {
        Door { socket: self.nest.seen_from_agent(&format!("state/nested/d/{}/nested.sock", self.id)) }
    }

    /// Waits until somebody is behind it, after an agent was started anew.
    pub fn wait_door(&self) -> Result<()> {
        let answers = || self.door().ask("GET", "/v1/info", b"").is_ok_and(|answer| answer.status == 200);
        wait_until(LONE_LIMIT, "the door is served", answers).with_context(|| self.nest.host.agent_log())
    }

    /// The folder of the agent's in which its caches are.
    pub fn caches(&self) -> PathBuf {
        self.nest.seen_from_agent(&format!("state/nested/p/{}/caches", self.id))
    }

    /// Waits until it has written this line.
    pub fn wait_says(&self, line: &str) -> Result<()> {
        let host = &self.nest.host;
        let says = || host.messages(&self.instance).iter().any(|said| said == line);
        let waited = wait_until(LONE_LIMIT, &format!("{} says {line:?}", self.instance), says);
        waited.with_context(|| format!("it says {:?}\n{}", host.messages(&self.instance), host.agent_log()))
    }

    /// Waits until it has ended by itself; its exit code. The agent need not run.
    pub fn wait_exit(&self) -> Result<i64> {
        let host = &self.nest.host;
        let file = host.path(&format!("run/c/{}/exit.json", self.id));
        let exit = || {
            let on_disk = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            let told = || {
                let all: Value = serde_json::from_str(&host.ok(&["ps", "-o", "json"]).ok()?).ok()?;
                let found = all.as_array()?.iter().find(|row| row["instance"] == self.instance && row["state"] == "exited")?;
                Some(found["last_exit"].clone())
            };
            on_disk.or_else(told)?["code"].as_i64()
        };
        let waited = wait_for(LONE_LIMIT, &format!("{} ends", self.instance), exit);
        waited.with_context(|| format!("it says {:?}\n{}", host.messages(&self.instance), host.agent_log()))
    }
}

/// A door, spoken to from outside of its container.
#[derive(Debug, Clone)]
pub struct Door {
    pub socket: PathBuf,
}

impl Door {
    /// A connection.
    pub fn connect(&self) -> Result<UnixStream> {
        connect(&self.socket)
    }

    /// One request and its answer.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.ask_with(method, path, &[], body)
    }

    /// The same with more headers.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut stream = self.connect()?;
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: coord\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n");
        stream.write_all(head.as_bytes())?;
        // Whoever refuses what is sent may not read it to its end.
        let _ = stream.write_all(body);
        read_answer(&mut BufReader::new(stream), method).with_context(|| format!("{method} {path}"))
    }

    /// Asks with a JSON body; the answer's status and its JSON.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let answer = self.ask_with(method, path, &[("Content-Type", "application/json")], &body)?;
        let said = if answer.body.is_empty() { Value::Null } else { serde_json::from_slice(&answer.body).unwrap_or_default() };
        Ok((answer.status, said))
    }

    /// The same where it must be granted.
    ///
    /// # Errors
    /// When it is refused, with what was said.
    pub fn granted(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, said) = self.json(method, path, body)?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} {body}: {status} {said}");
        }
        Ok(said)
    }

    /// The same where it must be refused; the code of the error.
    ///
    /// # Errors
    /// When it is granted, or the answer has not the shape of errors.
    pub fn refused(&self, method: &str, path: &str, body: &Value) -> Result<String> {
        let (status, said) = self.json(method, path, body)?;
        match (said["code"].as_str(), said["message"].as_str()) {
            (Some(code), Some(message)) if is_refusal(status) && !message.is_empty() => Ok(code.to_owned()),
            _ => bail!("{method} {path} {body}: {status} {said}"),
        }
    }

    /// Bytes as they are; whatever comes back until the other end closes, or `limit` is over.
    pub fn raw(&self, bytes: &[u8], limit: Duration) -> Result<Vec<u8>> {
        const ANSWER_BYTES_MAX: u64 = 1 << 20;
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(limit))?;
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        Ok(answer)
    }
}

/// Whoever asks is told what is wrong: it is no fault of the agent's.
fn is_refusal(status: u16) -> bool {
    const INSUFFICIENT_STORAGE: u16 = 507;
    (400..500).contains(&status) || status == INSUFFICIENT_STORAGE
}

/// Longer than a socket's address may be: reached through a descriptor of its folder.
fn connect(socket: &Path) -> Result<UnixStream> {
    use std::os::fd::AsRawFd as _;
    let (folder, name) = (socket.parent().context("a folder")?, socket.file_name().context("a name")?);
    let folder = fs::File::open(folder).with_context(|| format!("open {}", folder.display()))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    let stream = UnixStream::connect(short).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(DOOR_LIMIT))?;
    stream.set_write_timeout(Some(DOOR_LIMIT))?;
    Ok(stream)
}

fn files_below(folder: &Path, traces: &mut Traces) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        traces.insert(format!("file {}", entry.path().display()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&entry.path(), traces);
        }
    }
}

/// Processes of this machine, in whatever group, whose command line, root or working folder is of the host's folder.
fn mentioned(folder: &Path) -> Traces {
    let folder = folder.to_string_lossy().trim_end_matches('/').to_owned();
    let mut found = Traces::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let links = ["cwd", "root", "exe"].map(|link| fs::read_link(entry.path().join(link)).unwrap_or_default());
        let says = String::from_utf8_lossy(&line).contains(&folder);
        if pid != std::process::id() && (says || links.iter().any(|link| link.to_string_lossy().contains(&folder))) {
            let program = String::from_utf8_lossy(&line).split('\0').next().unwrap_or_default().to_owned();
            found.insert(format!("mentions {program} {pid}"));
        }
    }
    found
}
