//! What an agent that starts finds of doors: those of containers that run are opened again, with what runs within them; of all others nothing
//! is left.
//!
//! What was half-done is undone: a second container that was being made is ended, with its reason. One that ran goes on, and one that ended
//! meanwhile is known to have.

use super::child::{self, Child, WITH_PARENT};
use super::door::Door;
use super::places::{Places, names};
use super::record::{About, Record};
use super::tools::Tools;
use super::{NewParent, ParentKind};
use crate::clock;
use crate::engine::Engine;
use coord_runtime::EmbeddedRuntime;
use coord_shared::names::ChildName;
use coord_shared::wire::nested::ChildState;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

/// Why a second container is not there that was being made.
const HALF_MADE: &str = "the agent ended while it was made; start it again";

/// See the module's description.
pub(super) async fn recover(tools: &Arc<Tools>, kind: ParentKind, runtime: &EmbeddedRuntime, running: &BTreeSet<String>) {
    let places = &tools.places;
    let known: Vec<(String, Option<About>)> =
        names(&places.parents()).into_iter().map(|name| (name.clone(), About::read(places, &name))).collect();
    // One that cannot be read was never finished: its container was not started.
    let of_kind = |about: &Option<About>| about.as_ref().map_or(kind == ParentKind::Instance, |about| about.kind == kind);
    let (ours, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, about)| of_kind(about));
    let engine = if places.has_containers() { tools.engine().ok() } else { None };
    let mut kept: BTreeSet<String> = others.iter().map(|(name, _)| name.clone()).collect();
    for (name, about) in ours {
        match about.filter(|_| running.contains(&name)) {
            Some(about) => match take_over(tools, about, runtime, engine.as_ref()).await {
                Ok(()) => drop(kept.insert(name)),
                Err(problem) => {
                    tracing::error!(container = %name, %problem, "its door cannot be opened again; what runs within it is ended");
                    remove(tools, &name, engine.as_ref()).await;
                }
            },
            None => remove(tools, &name, engine.as_ref()).await,
        }
    }
    if kind == ParentKind::Instance {
        for name in names(&places.doors()).into_iter().filter(|name| !kept.contains(name)) {
            forget(places, &name).await;
        }
        sweep(places, engine.as_ref(), &kept).await;
    }
}

/// Opens a door again.
async fn take_over(tools: &Arc<Tools>, about: About, runtime: &EmbeddedRuntime, engine: Option<&Engine>) -> Result<(), String> {
    let About { container, shown, kind, permission, image } = about;
    let parent = NewParent { container: container.clone(), shown, kind, runtime: runtime.clone(), permission, image };
    let door = Door::new(tools.clone(), parent)?;
    let mut living: Vec<ChildName> = Vec::new();
    for record in Record::all(&tools.places, &container) {
        if take_in(&door, record.clone(), engine).await {
            living.push(record.view.name);
        }
    }
    door.caches.retain(&living).await;
    door.serve()?;
    tools.doors().insert(container, door.clone());
    door.changed();
    Ok(())
}

/// Whether it still has what it mounts.
async fn take_in(door: &Arc<Door>, record: Record, engine: Option<&Engine>) -> bool {
    let child: Arc<Child> = door.take_in(record.clone());
    if record.has_ended() {
        match engine.filter(|engine| engine.has_found(&record.container)) {
            // Its removal was cut short.
            Some(engine) => child::clear(door, &child, engine).await,
            None => is_gone(door, &child, &record),
        }
        return false;
    }
    let found = engine.filter(|engine| engine.has_found(&record.container));
    if let (ChildState::Running, Some(engine)) = (record.view.state, found) {
        tokio::task::spawn_local(child::attend(door.clone(), child, engine.clone()));
        return true;
    }
    door.note(&child, |record| {
        let view = &mut record.view;
        if view.state == ChildState::Running {
            let at = clock::now().wall;
            let exit = coord_shared::wire::Exit { code: None, signal: None, oom_killed: false, memory_limit: None, at };
            (view.state, view.exit) = (ChildState::Exited, Some(exit));
        } else {
            (view.state, view.reason) = (ChildState::Failed, Some(HALF_MADE.to_owned()));
        }
        view.pid = None;
    });
    match found {
        Some(engine) => child::clear(door, &child, engine).await,
        None => is_gone(door, &child, &record),
    }
    false
}

/// Its folders went with the earlier agent, or with the runtime that was opened; its image is in use no more.
fn is_gone(door: &Door, child: &Child, record: &Record) {
    door.tools.places.forget_image(&record.container);
    child.is_gone();
}

/// Ends what is left within a container that is gone.
async fn remove(tools: &Tools, parent: &str, engine: Option<&Engine>) {
    let places = &tools.places;
    for record in Record::all(places, parent) {
        if let Some(engine) = engine.filter(|engine| engine.has_found(&record.container)) {
            tracing::info!(container = %record.container, "removing a second container: {WITH_PARENT}");
            clear(engine, &record.container).await;
        }
        places.forget_image(&record.container);
    }
    forget(places, parent).await;
}

/// Second containers that nobody knows: theirs were never noted, or were forgotten before they were removed.
async fn sweep(places: &Places, engine: Option<&Engine>, parents: &BTreeSet<String>) {
    let known: BTreeSet<String> =
        parents.iter().flat_map(|parent| Record::all(places, parent)).map(|record| record.container).collect();
    if let Some(engine) = engine {
        for container in engine.found("").into_iter().filter(|container| !known.contains(container)) {
            clear(engine, &container).await;
        }
    }
    places.forget_images_but(&known);
    // Lists of a comparison that was cut short.
    let _ = fs::remove_dir_all(places.run.join("lists"));
}

async fn clear(engine: &Engine, container: &str) {
    if let Err(error) = engine.remove(container).await {
        tracing::warn!(%container, error = %crate::chain(&error), "something is left of a second container");
    }
}

/// Removes a parent's folders; the one by which it is found last.
pub(super) async fn forget(places: &Places, parent: &str) {
    let folders = [places.door(parent), places.parent(parent)];
    let removed = tokio::task::spawn_blocking(move || {
        for folder in folders {
            // What others have put is never walked by paths.
            if let Err(error) = crate::volumes::delete(&folder) {
                tracing::warn!(error = %crate::chain(&error), "something is left of a door; the next agent tries again");
            }
        }
    });
    // Not done where the agent is ending: the next one does it.
    let _ = removed.await;
}
