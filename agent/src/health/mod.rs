//! Health checks: one light task for each container that has one, which asks, judges by the rules of `decide::health`, and tells the loop
//! only when the answer is another word.
//!
//! A waiting task is a timer and a few hundred bytes; what asking takes is made for each question and gone after it.
//! Deliberately absent: every decision, be it on health or on what follows from it.

mod doors;
mod http;

use crate::clock;
use crate::event::Event;
use crate::inside::{self, ProgramError};
use crate::state::Asked;
use coord_runtime::{ExecSpec, Runtime};
use coord_shared::decide::health::Outcome;
use coord_shared::document::Probe;
use coord_shared::names::ContainerId;
use doors::Doors;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Programs that are being run as checks at a time. An agent that starts finds hundreds of containers that all want to be asked.
const PROGRAMS_AT_A_TIME: usize = 8;

/// All containers that are asked.
#[derive(Clone)]
pub struct Probers {
    tasks: Arc<Mutex<BTreeMap<ContainerId, AbortHandle>>>,
    turns: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl Probers {
    /// Nobody is asked yet; news go to `events`.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { tasks: Arc::default(), turns: Arc::new(Semaphore::new(PROGRAMS_AT_A_TIME)), events }
    }

    /// Asks a container from now on, instead of how it was asked before.
    pub fn ask<R: Runtime>(&self, runtime: &R, asked: Arc<Asked>) {
        let container = asked.container.clone();
        let prober = Prober { asked, runtime: runtime.clone(), turns: self.turns.clone(), events: self.events.clone() };
        let task = tokio::spawn(prober.run()).abort_handle();
        if let Some(before) = self.tasks().insert(container, task) {
            before.abort();
        }
    }

    /// Asks it no more.
    pub fn ask_no_more(&self, container: &ContainerId) {
        if let Some(task) = self.tasks().remove(container) {
            task.abort();
        }
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<ContainerId, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks one container.
struct Prober<R> {
    asked: Arc<Asked>,
    runtime: R,
    turns: Arc<Semaphore>,
    events: mpsc::Sender<Event>,
}

impl<R: Runtime> Prober<R> {
    async fn run(self) {
        let Asked { check, started_at, .. } = &*self.asked;
        let mut health = self.asked.health.clone();
        let mut told = health.clone();
        let mut doors = Doors::of(self.asked.pid);
        tokio::time::sleep(check.first_pause(&health, fastrand::f64())).await;
        loop {
            let asked_at = clock::now().mono;
            // In a box of its own: a task that waits is to be small.
            let outcome = Box::pin(self.question(&mut doors)).await;
            health = health.judge(check, *started_at, asked_at, outcome);
            if health.is_news(&told) {
                told = health.clone();
                let event = Event::Health { container: self.asked.container.clone(), health: health.clone() };
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(check.pause(&health, *started_at, clock::now().mono)).await;
        }
    }

    async fn question(&self, doors: &mut Doors) -> Outcome {
        let limit = self.asked.check.timeout.0;
        match &self.asked.check.probe {
            Probe::Exec(command) => self.program(command, limit).await,
            Probe::Tcp { port } => within(limit, async { doors.connect(*port).await.map(drop) }).await,
            Probe::Http { host, port, path } => {
                within(limit, async { http::get(doors.connect(*port).await?, host.as_deref(), *port, path).await }).await
            }
        }
    }

    async fn program(&self, command: &[String], limit: Duration) -> Outcome {
        // The limit begins with its turn.
        let _turn = self.turns.acquire().await;
        let spec = ExecSpec { args: command.to_vec(), ..ExecSpec::default() };
        match inside::run(&self.runtime, &self.asked.container.to_string(), spec, limit).await {
            Ok(()) => Outcome::Well,
            Err(ProgramError::NoContainer) => Outcome::Unknown,
            // The exit code says less than what it says itself.
            Err(ProgramError::Failed { output, .. }) if !output.is_empty() => Outcome::Ill(output),
            Err(error) => Outcome::Ill(crate::chain(&error)),
        }
    }
}

/// Why a question had no good answer.
enum Trouble {
    /// The container is gone.
    NoContainer,
    /// In words.
    Ill(String),
}

async fn within(limit: Duration, question: impl Future<Output = Result<(), Trouble>>) -> Outcome {
    match tokio::time::timeout(limit, question).await {
        Ok(Ok(())) => Outcome::Well,
        Ok(Err(Trouble::NoContainer)) => Outcome::Unknown,
        Ok(Err(Trouble::Ill(words))) => Outcome::Ill(words),
        Err(_) => Outcome::Ill(format!("no answer within {}", coord_shared::quantity::Span(limit))),
    }
}

#[cfg(test)]
mod tests;
