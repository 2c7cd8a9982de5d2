//! One run of a program: bounded in time, in bytes on disk and in what it says; ended with everything that it started.

use crate::error::{SourceError, Trouble, folder};
use crate::folder::Bound;
use crate::sys::{self, Child};
use crate::text::{self, Mask};
use crate::tools::Tools;
use rustix::process::{Pid, Signal};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child as Process, Command};

/// Largest answer of a program, in bytes: the tags of a repository that has a hundred thousand of them, or a diff as long.
const OUTPUT_MAX_BYTES: usize = 32 << 20;
/// Last lines of a program's complaints that are told.
const LAST_LINES_MAX: usize = 8;
/// Longest line of a complaint that is kept, in bytes; the rest of it is dropped.
const LINE_MAX_BYTES: usize = 4096;
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What of the agent's own environment the programs see: how the network is reached, and whom to trust there.
const PASSED_ON: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// A folder of the work, and the name by which the program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The configuration.
    Home,
    /// What is kept of the repository.
    Kept,
    /// The commit's files.
    Files,
}

impl Place {
    fn seen(self) -> &'static CStr {
        match self {
            Self::Home => c"/dev/shm/home",
            Self::Kept => c"/dev/shm/kept",
            Self::Files => c"/dev/shm/files",
        }
    }
}

/// What the program may use, and whom it works for. Shared by all runs of one call.
pub(crate) struct Work<'a> {
    pub(crate) tools: &'a Tools,
    /// For messages: `fetching`, and the address as people are shown it.
    pub(crate) operation: &'static str,
    pub(crate) url: String,
    pub(crate) mask: Mask,
    pub(crate) kept: Option<&'a Path>,
    pub(crate) files: Option<&'a Path>,
    /// When it must be over.
    pub(crate) deadline: tokio::time::Instant,
    /// For messages: how long it had.
    pub(crate) patience: Duration,
}

/// One run.
#[derive(Default)]
pub(crate) struct Order {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What it reads.
    pub(crate) input: String,
    /// What it inherits; the numbers are in the environment.
    pub(crate) inherited: Vec<OwnedFd>,
    /// What may not grow beyond a size meanwhile.
    pub(crate) bound: Option<Bound>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) is_success: bool,
    pub(crate) output: Vec<u8>,
    /// The last lines that it complained, without credentials.
    pub(crate) said: Vec<String>,
}

impl Work<'_> {
    /// The path by which the program sees a folder of the work.
    pub(crate) fn seen(&self, place: Place) -> String {
        let seen = if self.tools.user.is_some() {
            PathBuf::from(std::ffi::OsStr::from_bytes(place.seen().to_bytes()))
        } else {
            self.real(place)
        };
        seen.to_string_lossy().into_owned()
    }

    fn real(&self, place: Place) -> PathBuf {
        let real = match place {
            Place::Home => Some(self.tools.home.as_path()),
            Place::Kept => self.kept,
            Place::Files => self.files,
        };
        real.map(Path::to_path_buf).unwrap_or_default()
    }

    /// Runs `program`, which `package` brings. `log` gets what it complains, line by line.
    pub(crate) async fn run(
        &self,
        (program, package): (&'static str, &'static str),
        order: Order,
        log: &mut dyn FnMut(&str),
    ) -> Result<Ended, SourceError> {
        let mut command = self.command(program, &order);
        let folders = self.folders()?;
        let file_max_bytes = order.bound.as_ref().map_or(OUTPUT_MAX_BYTES as u64, |bound| bound.bytes);
        sys::prepare(&mut command, Child { user: self.tools.user, folders, inherited: order.inherited, file_max_bytes });
        let mut process = command.spawn().map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                SourceError::NotInstalled { program, package }
            } else {
                SourceError::Start { program, source }
            }
        })?;
        // Its copies of inherited descriptors end with it.
        drop(command);
        let mut group = Group(process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let ended = {
            let exceeded = async {
                match &order.bound {
                    Some(bound) => bound.exceeded().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = talk(&mut process, program, &order.input, &self.mask, log) => ended,
                what = exceeded => Err(self.too_large(what)),
                () = tokio::time::sleep_until(self.deadline) => Err(self.too_slow()),
            }
        };
        match ended {
            Ok(ended) if ended.output.len() > OUTPUT_MAX_BYTES => {
                let what = format!("it answers with more than {} MiB", OUTPUT_MAX_BYTES >> 20);
                Err(self.too_large(what))
            }
            Ok(ended) => {
                group.0 = None;
                // It may have been quicker than the watching.
                let excess = match &order.bound {
                    Some(bound) if ended.is_success => bound.check().await,
                    Some(_) | None => None,
                };
                excess.map_or(Ok(ended), |what| Err(self.too_large(what)))
            }
            Err(error) => {
                drop(group);
                let _ = process.wait().await;
                Err(error)
            }
        }
    }

    /// As [`Work::run`]; a failure is an error that quotes its last words.
    pub(crate) async fn run_well(
        &self,
        program: (&'static str, &'static str),
        order: Order,
        log: &mut dyn FnMut(&str),
    ) -> Result<Ended, SourceError> {
        let ended = self.run(program, order, log).await?;
        if ended.is_success { Ok(ended) } else { Err(self.failed(&ended)) }
    }

    pub(crate) fn failed(&self, ended: &Ended) -> SourceError {
        let said = if ended.said.is_empty() { "without a word".to_owned() } else { ended.said.join(" / ") };
        let trouble = Trouble::of(&said);
        SourceError::Failed { operation: self.operation, url: self.url.clone(), said, trouble, cure: trouble.cure() }
    }

    fn too_large(&self, what: String) -> SourceError {
        SourceError::TooLarge { operation: self.operation, url: self.url.clone(), what }
    }

    fn too_slow(&self) -> SourceError {
        SourceError::TooSlow { operation: self.operation, url: self.url.clone(), limit: self.patience }
    }

    fn command(&self, program: &str, order: &Order) -> Command {
        let mut command = Command::new(program);
        command.args(&order.arguments).env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // The language of messages that are understood here; file names are UTF-8.
        command.env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
        command.envs(order.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn folders(&self) -> Result<Vec<(CString, &'static CStr)>, SourceError> {
        if self.tools.user.is_none() {
            return Ok(Vec::new());
        }
        let places = [(Place::Home, true), (Place::Kept, self.kept.is_some()), (Place::Files, self.files.is_some())];
        let mut folders = Vec::new();
        for (place, _) in places.into_iter().filter(|(_, is_used)| *is_used) {
            let real = std::path::absolute(self.real(place)).map_err(folder("find", self.real(place)))?;
            let path = CString::new(real.as_os_str().as_bytes()).map_err(|e| folder("name", &real)(e.into()))?;
            folders.push((path, place.seen()));
        }
        Ok(folders)
    }
}

/// A program and all that it started, which end with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // An error: it is gone already.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Gives it its input, reads what it says, and waits for its end.
async fn talk(
    process: &mut Process,
    program: &'static str,
    input: &str,
    mask: &Mask,
    log: &mut dyn FnMut(&str),
) -> Result<Ended, SourceError> {
    let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that does not read it will say why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output, said) = tokio::join!(write, read_all(stdout), read_lines(stderr, mask, log));
    let status = process.wait().await.map_err(|source| SourceError::Start { program, source })?;
    Ok(Ended { is_success: status.success(), output, said })
}

/// At most one byte more than is taken; then the pipe is closed, which ends whoever writes on.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error counts.
        let _ = pipe.take(OUTPUT_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Tells every line, and answers with the last ones. Progress (lines that are written over) counts as lines.
async fn read_lines(pipe: Option<impl AsyncRead + Unpin>, mask: &Mask, log: &mut dyn FnMut(&str)) -> Vec<String> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    let (mut last, mut line, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    let mut end = |line: &mut Vec<u8>| {
        let text = text::line(&mask.hide(&String::from_utf8_lossy(line)));
        line.clear();
        if text.is_empty() {
            return;
        }
        log(&text);
        if last.len() == LAST_LINES_MAX {
            last.remove(0);
        }
        last.push(text);
    };
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        for byte in &buffer[..read] {
            match byte {
                b'\n' | b'\r' => end(&mut line),
                _ if line.len() < LINE_MAX_BYTES => line.push(*byte),
                _ => {}
            }
        }
    }
    end(&mut line);
    last
}
