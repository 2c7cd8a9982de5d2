//! One door: what a container may, what runs within it, and the sockets through which it asks.

use super::caches::Caches;
use super::child::Child;
use super::places::{make_folder, names};
use super::record::{About, Record};
use super::refusal::{broken, cure, ending, refuse};
use super::tools::Tools;
use super::{NewParent, given::Given, socket, stdio, ttl};
use crate::clock;
use crate::containers::happenings::What;
use coord_runtime::{EmbeddedRuntime, Mount, MountSource, Propagation};
use coord_shared::decide::nested::{InUse, admit_child};
use coord_shared::names::{CacheName, ChildName, ImageReference};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{ChildState, ChildView, ENDED_MAX, NewChild};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

/// Where a container finds its door.
const INSIDE: &str = "/run/coord";
/// The door's program, in the folder of helpers and inside.
const PROGRAM: &str = "coord";

/// Lists of files at a time: each may be some megabytes.
const LISTS_MAX: usize = 2;

/// How far a door is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Nothing new may begin.
    Closing,
    /// Nothing is left but logs.
    Closed,
}

/// See the module's description.
pub(super) struct Door {
    pub(super) tools: Arc<Tools>,
    pub(super) about: About,
    /// What runs the container that it is in.
    pub(super) runtime: EmbeddedRuntime,
    pub(super) caches: Caches,
    /// Standard files that were handed over, and are not used yet.
    pub(super) given: Given,
    /// Lists of files that are read, or made, at a time.
    pub(super) lists: Arc<Semaphore>,
    /// Told when caches' times may be over at another moment than before.
    pub(super) caches_changed: Notify,
    pub(super) stage: watch::Sender<Stage>,
    children: Mutex<Children>,
    /// What serves the sockets.
    serving: Mutex<Vec<AbortHandle>>,
}

#[derive(Default)]
struct Children {
    by_name: BTreeMap<ChildName, Arc<Child>>,
    /// Of the last one.
    number: u64,
}

impl Door {
    /// Makes a door's folders, or finds them; nobody can knock yet.
    pub(super) fn new(tools: Arc<Tools>, parent: NewParent) -> Result<Arc<Self>, String> {
        let NewParent { container, shown, kind, runtime, permission, image } = parent;
        let about = About { container, shown, kind, permission, image };
        let places = &tools.places;
        let failed = |error: io::Error| format!("the door of container {} cannot be made: {error}", about.container);
        make_folder(&places.children(&about.container)).map_err(failed)?;
        about.write(places).map_err(failed)?;
        let (opener, owner) = (runtime.clone(), about.container.clone());
        let root = Arc::new(move || opener.root(&owner));
        let (judge, owner) = (runtime.clone(), about.container.clone());
        let obstacle = Arc::new(move |path: &Path| judge.live_obstacle(&owner, path));
        let caches = Caches::open(places.caches(&about.container), about.permission.clone(), root, obstacle).map_err(failed)?;
        Ok(Arc::new(Self {
            tools,
            about,
            runtime,
            caches,
            given: Given::default(),
            lists: Arc::new(Semaphore::new(LISTS_MAX)),
            caches_changed: Notify::new(),
            stage: watch::Sender::new(Stage::Open),
            children: Mutex::default(),
            serving: Mutex::default(),
        }))
    }

    /// Makes the sockets and serves them, on this thread; in the place of those that an earlier agent left. What is to be mounted into the
    /// container for it is returned.
    pub(super) fn serve(self: &Arc<Self>) -> Result<Vec<Mount>, String> {
        let parent = &self.about.container;
        let failed = |error: io::Error| format!("the door of container {parent} cannot be made: {error}");
        let folder = self.tools.places.door(parent);
        let (requests, handing_over) = make_door(&folder).map_err(failed)?;
        let serving = [
            tokio::task::spawn_local(socket::serve(requests, self.clone())).abort_handle(),
            tokio::task::spawn_local(stdio::serve(handing_over, self.clone())).abort_handle(),
            tokio::task::spawn_local(ttl::keep(self.clone())).abort_handle(),
        ];
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).extend(serving);
        Ok(self.mounts(&folder))
    }

    /// The door's folder, and the program in it.
    fn mounts(&self, folder: &Path) -> Vec<Mount> {
        let bind = |path: PathBuf, target: String| Mount {
            target,
            source: MountSource::Bind { path, propagation: Propagation::Private },
            read_only: true,
        };
        let mut mounts = vec![bind(folder.to_owned(), INSIDE.to_owned())];
        let program = self.tools.hands.helpers_dir.join(PROGRAM);
        match program.canonicalize() {
            Ok(program) => mounts.push(bind(program, format!("{INSIDE}/{PROGRAM}"))),
            Err(error) => tracing::warn!(
                container = %self.about.container, program = %program.display(), %error,
                "its door has a socket and no program; install coord beside coord-agent"
            ),
        }
        mounts
    }

    /// Whether something new may begin.
    pub(super) fn check_open(&self) -> Result<(), ErrorBody> {
        match *self.stage.borrow() {
            Stage::Open => Ok(()),
            Stage::Closing | Stage::Closed => {
                Err(refuse("ending", format!("container {} has ended, or is about to", self.about.container)))
            }
        }
    }

    /// For whoever asks what went on here a while ago.
    pub(super) fn note_cache(&self, what: What, cache: &CacheName, words: &str) {
        self.tools.hands.happenings.note_within(what, &self.about.container, cache, words, clock::now().wall);
    }

    /// Whether the container that it is in runs.
    pub(super) fn parent_lives(&self) -> bool {
        self.runtime.root(&self.about.container).is_ok()
    }

    /// Nobody can knock any more.
    pub(super) fn stop_serving(&self) {
        for task in self.serving.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Says that something is other than before.
    pub(super) fn changed(&self) {
        self.tools.reporter.changed(&self.about.container);
    }

    pub(super) fn in_use(&self) -> InUse {
        let living = self.children().by_name.values().filter(|child| !child.record.borrow().has_ended()).count();
        InUse { containers: u32::try_from(living).unwrap_or(u32::MAX), caches: self.caches.list() }
    }

    /// A place for one more second container, if it may be: nobody else has its name from here on.
    pub(super) fn reserve(&self, asked: &NewChild, image: &ImageReference) -> Result<Arc<Child>, ErrorBody> {
        self.check_open()?;
        admit_child(&self.about.permission, &self.in_use(), &self.about.image.reference, asked, image)?;
        let mut children = self.children();
        let number = children.number + 1;
        let name = match &asked.name {
            Some(name) => name.clone(),
            None => children.free_name(image)?,
        };
        if let Some(other) = children.by_name.get(&name) {
            if !other.record.borrow().has_ended() {
                let refusal = refuse("container_exists", format!("container {name} exists and has not ended"));
                return Err(cure(refusal, "choose another name, or none and get one chosen, or stop it first"));
            }
            remove_logs(&self.tools.places.log(&self.about.container, &name));
        }
        let record = Record {
            number,
            container: runtime_id(&self.about.container, &name, number),
            stop_signal: None,
            memory: asked.memory,
            view: ChildView {
                name: name.clone(),
                image: asked.image.clone(),
                digest: None,
                state: ChildState::Starting,
                created_at: clock::now().wall,
                started_at: None,
                pid: None,
                exit: None,
                reason: None,
                caches: Vec::new(),
                attached: asked.stdio.is_some(),
            },
        };
        record.write(&self.tools.places, &self.about.container).map_err(|error| broken("note the container", &error))?;
        children.number = number;
        let child = Arc::new(Child::new(record));
        children.by_name.insert(name, child.clone());
        drop(children);
        self.changed();
        Ok(child)
    }

    /// One that an earlier agent has noted.
    pub(super) fn take_in(&self, record: Record) -> Arc<Child> {
        let mut children = self.children();
        children.number = children.number.max(record.number);
        let name = record.view.name.clone();
        let child = Arc::new(Child::new(record));
        children.by_name.insert(name, child.clone());
        child
    }

    pub(super) fn child(&self, name: &ChildName) -> Result<Arc<Child>, ErrorBody> {
        self.children().by_name.get(name).cloned().ok_or_else(|| {
            cure(refuse("no_such_container", format!("there is no container {name}")), "`coord ps` shows those that there are")
        })
    }

    /// All, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Child>> {
        let mut all: Vec<Arc<Child>> = self.children().by_name.values().cloned().collect();
        all.sort_by_key(|child| child.record.borrow().number);
        all
    }

    pub(super) fn views(&self) -> Vec<ChildView> {
        self.all().iter().map(|child| child.view()).collect()
    }

    /// Changes what is known of a second container, and writes it down.
    pub(super) fn note(&self, child: &Child, change: impl FnOnce(&mut Record)) {
        let mut record = child.record.borrow().clone();
        change(&mut record);
        if self.is_current(&record)
            && let Err(error) = record.write(&self.tools.places, &self.about.container)
        {
            tracing::warn!(container = %record.container, %error, "it is not written down how it is");
        }
        // Whoever waits for its end finds it written down.
        child.record.send_replace(record);
        self.changed();
    }

    /// Forgets those that ended the longest time ago, with their logs.
    pub(super) fn forget_old(&self) {
        let ended: Vec<Record> = self.all().iter().map(|child| child.record.borrow().clone()).filter(Record::has_ended).collect();
        for record in ended.iter().take(ended.len().saturating_sub(ENDED_MAX)) {
            let name = &record.view.name;
            self.children().by_name.remove(name);
            let (places, parent) = (&self.tools.places, &self.about.container);
            // One that stays is gone with the parent.
            let _ = fs::remove_file(places.child(parent, name));
            remove_logs(&places.log(parent, name));
        }
    }

    /// Whether its name is not another's by now.
    fn is_current(&self, record: &Record) -> bool {
        let children = self.children();
        children.by_name.get(&record.view.name).is_some_and(|child| child.record.borrow().number == record.number)
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Children {
    /// After its image, with its number.
    fn free_name(&self, image: &ImageReference) -> Result<ChildName, ErrorBody> {
        let last = image.repository().rsplit('/').next().unwrap_or_default();
        let stem: String = last.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let stem = if stem.is_empty() { "container".to_owned() } else { stem };
        let names = (self.number + 1..).filter_map(|number| format!("{stem}-{number}").parse::<ChildName>().ok());
        names.into_iter().find(|name| !self.by_name.contains_key(name)).ok_or_else(ending)
    }
}

/// Unique for all time on this host, because its parent's is.
fn runtime_id(parent: &str, child: &ChildName, number: u64) -> String {
    /// The runtime's limit, less what is added to the ID of one that only lists what it sees.
    const MAX_CHARS: usize = 120;
    let whole = format!("{parent}.{child}-{number}");
    if whole.len() <= MAX_CHARS {
        return whole;
    }
    let digest = coord_shared::names::Digest::of(whole.as_bytes());
    format!("{}.{}-{number}", parent.chars().take(40).collect::<String>(), digest.short())
}

/// The log, and what it was rotated to.
pub(super) fn remove_logs(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    for found in names(folder).into_iter().filter(|found| found.starts_with(name)) {
        // One that stays is removed with the others, when it is old.
        let _ = fs::remove_file(folder.join(found));
    }
}

/// Makes the folder that is mounted, and the sockets in it. Whoever is in the container may use them.
fn make_door(folder: &Path) -> io::Result<(tokio::net::UnixListener, tokio::net::UnixListener)> {
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?,
    }
    let program = folder.join(PROGRAM);
    if !program.exists() {
        fs::write(&program, "")?;
    }
    // A socket's address holds 107 bytes: less than a path of ours may have.
    let open = openat(CWD, folder, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let bind = |name: &str| crate::control::bind_for(&short.join(name), 0o666);
    Ok((bind("nested.sock")?, bind("stdio.sock")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_ids_that_the_runtime_takes() {
        let check = |parent: &str, child: &str, expect: &str| {
            let id = runtime_id(parent, &child.parse().expect("a name"), 7);
            assert!(id.len() <= 120 && id.starts_with(expect) && id.ends_with("-7"), "{id}");
            assert!(id.parse::<coord_shared::names::ContainerId>().is_err(), "{id} must not be taken for an instance's");
        };
        check("web.0-r1-1", "work", "web.0-r1-1.work-7");
        check("web.0-r1-1", "0-r5", "web.0-r1-1.0-r5-7");
        let long = "x".repeat(60);
        check(&format!("{long}.0-r1-1"), &long, &"x".repeat(40));
    }
}
