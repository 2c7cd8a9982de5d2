//! Standalone: what this host should run comes from files on it, and no coordinator is asked.
//!
//! The path given with `--state` is a host state as a coordinator would send it, one document, or a folder of documents. It is watched; every
//! change is taken in as it comes. Tags are resolved here, once for each change of a document, and the numbers that a coordinator
//! would give (revisions, generation) are counted on from the ledger. Something that cannot be read changes nothing: what runs,
//! runs on, and the log says what is wrong.

use crate::event::Event;
use crate::watch_config::may_be_change;
use coord_registry::Registry;
use coord_shared::document::{self, DOCUMENT_MAX_BYTES};
use coord_shared::names::{Generation, HostName, Labels, NameError, Revision, WorkloadName};
use coord_shared::wire::{DesiredInstance, HOST_STATE_MAX_BYTES, HostState};
use notify::{RecursiveMode, Watcher as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Quiet time after a change before the files are read: an editor's save is several events.
const SETTLE: Duration = Duration::from_millis(20);
/// The files are read anew at least this often, should a notification be lost; and what could not be resolved is tried again.
const RESCAN: Duration = Duration::from_secs(15);

/// Where a standalone host takes its state from.
pub struct Source {
    /// File or folder.
    pub path: PathBuf,
    /// This host.
    pub host: HostName,
    /// For selectors.
    pub labels: Labels,
    /// Resolves tags.
    pub registry: Registry,
    /// The last accepted host state, from the ledger.
    pub accepted: HostState,
}

/// Watches and sends until the receiver is gone.
pub async fn run(mut source: Source, events: mpsc::Sender<Event>) {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    // A full channel already says what one more notification would.
    let notified = move |event: notify::Result<notify::Event>| {
        if may_be_change(&event) {
            let _ = changed.try_send(());
        }
    };
    let folder =
        if source.path.is_dir() { source.path.clone() } else { source.path.parent().unwrap_or(Path::new(".")).to_owned() };
    let watcher = notify::recommended_watcher(notified).and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(path = %folder.display(), %error, "cannot watch; it is read every {} s instead", RESCAN.as_secs());
    }
    let mut told = None;
    loop {
        match source.read().await {
            Ok(state) => {
                let is_news = state.instances != source.accepted.instances || source.accepted.generation == Generation(0);
                if is_news {
                    let generation = Generation(source.accepted.generation.0 + 1);
                    source.accepted = HostState { generation, ..state };
                    if events.send(Event::State(Box::new(source.accepted.clone()))).await.is_err() {
                        return;
                    }
                }
                told = None;
            }
            Err(problem) => {
                if told.as_ref() != Some(&problem) {
                    tracing::error!(path = %source.path.display(), "{problem}");
                    told = Some(problem);
                }
            }
        }
        tokio::select! {
            _ = changes.recv() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(RESCAN) => {}
            () = events.closed() => return,
        }
        while changes.try_recv().is_ok() {}
    }
}

impl Source {
    async fn read(&self) -> Result<HostState, String> {
        if self.path.is_dir() {
            return self.read_documents(self.documents_of_folder()?).await;
        }
        let text = read_text(&self.path, HOST_STATE_MAX_BYTES as u64)?;
        match HostState::from_toml(&text) {
            Ok(state) if state.host == self.host => Ok(state),
            Ok(state) => Err(format!("is the host state of {}, and this host is {}", state.host, self.host)),
            // A host state begins with its version; whatever does not is read as a document.
            Err(error) if text.contains("\n[[instance]]") || text.starts_with("version") => Err(error.to_string()),
            Err(_) => self.read_documents(vec![self.path.clone()]).await,
        }
    }

    fn documents_of_folder(&self) -> Result<Vec<PathBuf>, String> {
        let entries = std::fs::read_dir(&self.path).map_err(|e| format!("cannot list {}: {e}", self.path.display()))?;
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| name_of(path).is_some()).collect();
        files.sort();
        Ok(files)
    }

    /// Compiles documents as a coordinator would for this one host. One that cannot be used leaves its workload as it was.
    async fn read_documents(&self, files: Vec<PathBuf>) -> Result<HostState, String> {
        let accepted: BTreeMap<_, _> = self.accepted.instances.iter().map(|instance| (&instance.workload, instance)).collect();
        let mut problems = Vec::new();
        let mut instances = Vec::new();
        for file in files {
            let Some(Ok(workload)) = name_of(&file) else {
                problems.push(format!("{} is not named after a workload; use a-z, 0-9 and '-'", file.display()));
                continue;
            };
            let before = accepted.get(&workload).copied();
            match self.compile(&file, workload, before).await {
                Ok(instance) => instances.extend(instance),
                Err(problem) => {
                    problems.push(problem);
                    instances.extend(before.cloned());
                }
            }
        }
        for problem in problems {
            tracing::warn!("{problem}");
        }
        Ok(HostState { instances, ..HostState::empty(self.host.clone()) })
    }

    /// `None` if the document does not select this host.
    async fn compile(
        &self,
        file: &Path,
        workload: WorkloadName,
        before: Option<&DesiredInstance>,
    ) -> Result<Option<DesiredInstance>, String> {
        let text = read_text(file, DOCUMENT_MAX_BYTES as u64)?;
        if let Some(before) = before.filter(|before| before.document == text) {
            return Ok(Some(before.clone()));
        }
        let parsed = document::parse(&text).map_err(|mistakes| mistakes.render(&file.display().to_string(), &text, false))?;
        if !parsed.hosts.iter().any(|selector| selector.matches(&self.host, &self.labels)) {
            return Ok(None);
        }
        let digest = match parsed.image.digest() {
            // The pull will tell whether there is such an image; nothing has to be asked for before.
            Some(digest) => digest.clone(),
            None => {
                let resolved = self.registry.resolve(&parsed.image).await;
                resolved.map_err(|e| format!("{}: {}", file.display(), crate::chain(&e)))?
            }
        };
        let revision = Revision(before.map_or(0, |before| before.revision.0).max(self.accepted.generation.0) + 1);
        Ok(Some(DesiredInstance { workload, index: 0, revision, digest, document: text }))
    }
}

fn name_of(file: &Path) -> Option<Result<WorkloadName, NameError>> {
    document::workload_name(file.file_name()?.to_str()?)
}

fn read_text(path: &Path, max_bytes: u64) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    file.take(max_bytes + 1).read_to_string(&mut text).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() as u64 > max_bytes {
        return Err(format!("{} is larger than {max_bytes} bytes", path.display()));
    }
    Ok(text)
}
