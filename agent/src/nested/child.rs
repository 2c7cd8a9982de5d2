//! A second container, from being asked for to its end.
//!
//! ```text
//!  reserve ─▶ Starting: image ─ caches ─ runtime.start ─▶ Running ─▶ Exited ─▶ removed, its record kept
//!                 └─ anything fails, or it is asked to end ─▶ Failed
//! ```
//! One task has it all the time, whatever becomes of whoever asked; others ask it to end by [`stop`] and [`end_now`].

use super::door::Door;
use super::given::Files;
use super::record::Record;
use super::refusal::{broken, cure, refuse};
use super::spec::{Made, child_spec, limits_of_all};
use super::{image, inspection, listing};
use crate::clock;
use crate::containers::happenings::What;
use crate::engine::Engine;
use coord_runtime::{Exit, Runtime as _, RuntimeError};
use coord_shared::names::{ChildName, ImageReference};
use coord_shared::quantity::{Signal, Span};
use coord_shared::wire::nested::{ChildState, ChildView, NewChild, Stop};
use coord_shared::wire::{self, ErrorBody};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a second container may take to end when it is asked to, where nobody says.
const GRACE: Span = Span::seconds(10);
/// Longest time that anybody may give it: whoever wants longer does not want it to end.
const GRACE_MAX: Duration = Duration::from_secs(3600);
/// A parent's last word to what runs within it.
pub(super) const WITH_PARENT: &str = "ended with its parent";
/// Signals that can be sent (signal(7)).
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// See the module's description.
pub(super) struct Child {
    pub(super) record: watch::Sender<Record>,
    /// Why it is to end, once it is.
    end: watch::Sender<Option<String>>,
    /// Nothing of it is left but its record and its log.
    gone: watch::Sender<bool>,
}

impl Child {
    pub(super) fn new(record: Record) -> Self {
        Self { record: watch::Sender::new(record), end: watch::Sender::new(None), gone: watch::Sender::new(false) }
    }

    pub(super) fn name(&self) -> ChildName {
        self.record.borrow().view.name.clone()
    }

    pub(super) fn view(&self) -> ChildView {
        self.record.borrow().view.clone()
    }

    pub(super) fn is_asked_to_end(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Waits for its end: how it was.
    pub(super) async fn ended(&self) -> ChildView {
        let mut record = self.record.subscribe();
        let ended = record.wait_for(Record::has_ended).await.map(|record| record.view.clone());
        // Its sender is ours.
        ended.unwrap_or_else(|_| self.view())
    }

    /// Waits until nothing of it is left.
    pub(super) async fn gone(&self) {
        // Its sender is ours.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Nothing of it is left but its record and its log.
    pub(super) fn is_gone(&self) {
        self.gone.send_replace(true);
    }

    /// The first reason stays.
    fn ask_to_end(&self, why: String) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert(why);
            is_first
        });
    }

    pub(super) async fn asked_to_end(&self) -> String {
        // Its sender is ours.
        let mut end = self.end.subscribe();
        let why = end.wait_for(Option::is_some).await.map(|why| why.clone());
        why.ok().flatten().unwrap_or_default()
    }
}

/// Starts one; when this returns `Ok`, its command has been executed. To be run in a task of its own.
///
/// # Errors
/// Those of the permission, the image, the caches, and the start. A name that was reserved is kept with the reason.
pub(super) async fn create(door: Arc<Door>, asked: NewChild) -> Result<ChildView, ErrorBody> {
    door.check_open()?;
    let image = image::named(&asked.image, &door.about)?;
    let files = match &asked.stdio {
        None => None,
        Some(token) => {
            let missing = || refuse("no_such_stdio", "no standard files were handed over by this token");
            Some(door.given.take(token).ok_or_else(missing)?)
        }
    };
    let child = door.reserve(&asked, &image)?;
    match bring_up(&door, &child, (&asked, &image), files).await {
        Ok(engine) => {
            let view = child.view();
            note(&door, What::Started, &child, view.pid.map(|pid| format!("pid {pid}")).unwrap_or_default());
            tokio::task::spawn_local(attend(door, child, engine));
            Ok(view)
        }
        Err(error) => {
            give_up(&door, &child, &error).await;
            Err(error)
        }
    }
}

/// Everything up to the execution of its command.
async fn bring_up(
    door: &Arc<Door>,
    child: &Arc<Child>,
    (asked, reference): (&NewChild, &ImageReference),
    files: Option<Files>,
) -> Result<Engine, ErrorBody> {
    let container = child.record.borrow().container.clone();
    let tools = &door.tools;
    let engine = tools.engine()?;
    let ready = async {
        let digest = image::resolve(tools, &door.about, reference).await?;
        tools.places.note_image(&container, &digest).map_err(|error| broken("note the image", &error))?;
        let ready = image::ready(tools, reference, &digest).await?;
        Ok::<_, ErrorBody>((digest, ready))
    };
    let (digest, ready) = tokio::select! {
        ready = ready => ready?,
        why = child.asked_to_end() => return Err(refuse("stopped", format!("container {}: {why}", child.name()))),
    };
    let mounted = door.caches.mount(&child.name(), &asked.caches).await?;
    door.caches_changed.notify_one();
    let by_log = match asked.verify_by_log {
        true => Some(listing::compare(door, child, &engine, (&ready, &mounted)).await?),
        false => None,
    };
    let made = Made {
        container: container.clone(),
        name: child.name(),
        ready: &ready,
        mounted: &mounted,
        parent: parent(door)?,
        log: tools.places.log(&door.about.container, &child.name()),
        files,
    };
    let (mut spec, stop_signal) = child_spec(asked, &door.about, &tools.hands.host, made)?;
    let seen = inspection::Seen::default();
    if !mounted.is_empty() {
        spec.inspection = Some(inspection::of(door.caches.clone(), mounted.clone(), seen.clone()));
    }
    let views: Vec<_> = mounted.iter().map(|one| one.view.clone()).collect();
    // Written down with the rest, once it runs.
    child.record.send_modify(|record| {
        (record.view.digest, record.view.caches, record.stop_signal) = (Some(digest), views, Some(stop_signal));
    });
    let running = match engine.runtime.start(spec).await {
        Ok(running) => running,
        Err(error) => return Err(not_started(&child.name(), &seen, &error)),
    };
    for weak in &running.weakened {
        tracing::info!(%container, %weak, "a second container has less isolation than it should");
    }
    door.note(child, |record| {
        let view = &mut record.view;
        (view.state, view.pid, view.started_at) = (ChildState::Running, Some(running.pid), Some(running.started_at));
        for (cache, verified) in view.caches.iter_mut().zip(seen.verified()) {
            cache.verified = Some(verified);
        }
        for (cache, files) in view.caches.iter_mut().zip(by_log.into_iter().flatten()) {
            cache.verified_by_log = Some(files);
        }
    });
    Ok(engine)
}

/// What a second container runs within.
pub(super) fn parent(door: &Door) -> Result<coord_runtime::Parent, ErrorBody> {
    let within = limits_of_all(&door.about.permission);
    door.runtime.parent(&door.about.container, &within).map_err(|error| refuse("ending", crate::chain(&error)))
}

/// In words with a code; an inspection that failed has its own.
pub(super) fn not_started(name: &ChildName, seen: &inspection::Seen, error: &RuntimeError) -> ErrorBody {
    match seen.difference() {
        Some(difference) => {
            let refusal = refuse("altered", format!("container {name} was not started: {difference}"));
            cure(refusal, "put the files again; `coord cache verify` says whether they are what was put")
        }
        None => {
            let refusal = crate::programs::refusal(error);
            ErrorBody { code: if refusal.code == "not_started" { "start_failed".to_owned() } else { refusal.code }, ..refusal }
        }
    }
}

/// Nothing of it runs: its record says why.
async fn give_up(door: &Arc<Door>, child: &Arc<Child>, error: &ErrorBody) {
    let (name, container) = (child.name(), child.record.borrow().container.clone());
    door.caches.unmount(&name).await;
    door.caches_changed.notify_one();
    door.tools.places.forget_image(&container);
    door.note(child, |record| {
        record.view.state = ChildState::Failed;
        record.view.reason = Some(error.message.clone());
    });
    note(door, What::StartFailed, child, error.message.clone());
    child.is_gone();
    door.forget_old();
}

/// Has a second container that runs, until nothing of it is left.
pub(super) async fn attend(door: Arc<Door>, child: Arc<Child>, engine: Engine) {
    let container = child.record.borrow().container.clone();
    // It was asked to while it was made, when there was nobody to be asked.
    if child.is_asked_to_end() {
        kill(&engine, &container);
    }
    let exit = engine.ended(&container).await;
    let name = child.name();
    door.caches.unmount(&name).await;
    door.caches_changed.notify_one();
    let why = child.end.borrow().clone().or_else(|| (!door.parent_lives()).then(|| WITH_PARENT.to_owned()));
    door.note(&child, |record| has_exited(record, &exit, why));
    let view = child.view();
    let exit = view.exit.map(|exit| exit.to_string()).unwrap_or_default();
    note(&door, What::Exited, &child, view.reason.map_or(exit.clone(), |reason| format!("{exit}: {reason}")));
    clear(&door, &child, &engine).await;
}

fn has_exited(record: &mut Record, exit: &Exit, why: Option<String>) {
    let exit = wire::Exit {
        code: exit.code,
        signal: exit.signal,
        oom_killed: exit.oom_killed,
        memory_limit: record.memory.filter(|_| exit.oom_killed),
        at: exit.at,
    };
    let view = &mut record.view;
    (view.state, view.pid, view.exit) = (ChildState::Exited, None, Some(exit));
    view.reason = why.or(view.reason.take());
}

/// Removes what is left of one that has ended.
pub(super) async fn clear(door: &Arc<Door>, child: &Arc<Child>, engine: &Engine) {
    let container = child.record.borrow().container.clone();
    if let Err(error) = engine.remove(&container).await {
        tracing::warn!(%container, error = %crate::chain(&error), "something is left of a second container");
    }
    door.tools.places.forget_image(&container);
    child.is_gone();
    door.forget_old();
}

/// Asks one to end, and sees to it that it does; how it was. To be run in a task of its own.
pub(super) async fn stop(door: &Arc<Door>, child: &Arc<Child>, how: &Stop, why: String) -> ChildView {
    let record = child.record.borrow().clone();
    if record.has_ended() {
        return record.view;
    }
    child.ask_to_end(why);
    let Ok(engine) = door.tools.engine() else { return child.ended().await };
    if record.view.state == ChildState::Running {
        let signal = how.signal.map(|signal| signal.0).or(record.stop_signal).unwrap_or(Signal::TERM.0);
        note(door, What::Stopping, child, Signal(signal).to_string());
        // One that cannot be asked is killed when its time is over.
        let _ = engine.runtime.signal(&record.container, signal);
        let grace = how.grace.unwrap_or(GRACE).0.min(GRACE_MAX);
        if let Ok(view) = tokio::time::timeout(grace, child.ended()).await {
            return view;
        }
        note(door, What::Killing, child, "it did not end within its grace period".to_owned());
        kill(&engine, &record.container);
    }
    child.ended().await
}

/// Ends one at once.
pub(super) fn end_now(door: &Door, child: &Child, why: &str) {
    let record = child.record.borrow().clone();
    if record.has_ended() {
        return;
    }
    child.ask_to_end(why.to_owned());
    if let Ok(engine) = door.tools.engine() {
        kill(&engine, &record.container);
    }
}

/// Sends a signal to its first process.
pub(super) fn signal(door: &Door, child: &Child, signal: Signal) -> Result<ChildView, ErrorBody> {
    let view = running(child)?;
    if !SIGNALS.contains(&signal.0) {
        return Err(refuse("invalid_request", format!("{} is no signal", signal.0)));
    }
    let container = child.record.borrow().container.clone();
    let sent = door.tools.engine()?.runtime.signal(&container, signal.0);
    sent.map_err(|error| refuse("not_running", crate::chain(&error)))?;
    Ok(view)
}

/// What is known of one that runs.
pub(super) fn running(child: &Child) -> Result<ChildView, ErrorBody> {
    let view = child.view();
    if view.state == ChildState::Running {
        return Ok(view);
    }
    Err(refuse("not_running", format!("container {} does not run: it is {}", view.name, view.state)))
}

fn kill(engine: &Engine, container: &str) {
    // One that is not there yet is asked again when it is, and one that is gone needs nothing.
    if let Err(error) = engine.runtime.kill(container) {
        tracing::debug!(%container, error = %crate::chain(&error), "not killed");
    }
}

/// For whoever asks what went on here a while ago.
fn note(door: &Door, what: What, child: &Child, words: String) {
    let parent = &door.about.container;
    door.tools.hands.happenings.note_within(what, parent, &child.name(), &words, clock::now().wall);
    // What a container makes of its permission is its own affair, and may be much.
    tracing::debug!(container = %parent, child = %child.name(), %words, "second container: {what}");
}
