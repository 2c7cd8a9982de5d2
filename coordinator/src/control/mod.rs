//! The controller: what every host should run, decided again whenever something changed.
//!
//! ```text
//!   store (workloads, hosts, assignments) --\
//!   reports (liveness, readiness) -----------+--> plan (pure) --> one compare-and-set --> host states, board
//!   logins (coordinator.toml), clock --------/
//!   orders (sources to look at, runs to build) /
//! ```
//!
//! It takes no input but a reason to look again, and remembers nothing that it could not load: killed at any point, it goes on where
//! the store stands. Two of them would only make each other's transactions fail.

mod board;
mod compile;
mod logins;
mod model;
mod plan;
mod retention;
#[cfg(test)]
mod tests;

pub use board::{Board, HostBoard, TargetBoard, WorkloadBoard};
pub use logins::{Logins, SharedRegistry};
pub use plan::{Preview, preview};
pub use retention::Retention;

use crate::clock;
use crate::hosts::{Hosts, Observed};
use crate::pipeline::Orders;
use crate::records::{AssignRecord, RecordError, assign_key, encode};
use coord_shared::decide::Mono;
use coord_shared::names::HostName;
use coord_store::{Committed, SharedStore, StoreError, StoreRevision, Txn};
use model::{Model, RevisionKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait before asking a failing store again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Compare-and-sets in one pass before the others are let through.
const TXN_ATTEMPTS_MAX: u32 = 10;

/// Why a pass could not be finished. The next one starts over.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others wrote assignments, again and again.
    #[error("assignments are being changed by others")]
    Busy,
}

/// Decides what hosts should run.
pub struct Controller {
    store: SharedStore,
    hosts: Arc<Hosts>,
    model: Model,
    logins: watch::Receiver<Arc<Logins>>,
    orders: watch::Receiver<Arc<Orders>>,
    board: watch::Sender<Arc<Board>>,
    /// Which write of its assignment each host's state was compiled from.
    compiled: BTreeMap<HostName, StoreRevision>,
}

impl Controller {
    /// A controller and the board that it keeps up to date.
    pub fn new(
        store: SharedStore,
        hosts: Arc<Hosts>,
        logins: watch::Receiver<Arc<Logins>>,
    ) -> (Self, watch::Receiver<Arc<Board>>) {
        let (board, shown) = watch::channel(Arc::new(Board::default()));
        // Of no pipelines, until told otherwise.
        let (_, orders) = watch::channel(Arc::default());
        let controller = Self { store, hosts, model: Model::default(), logins, orders, board, compiled: BTreeMap::new() };
        (controller, shown)
    }

    /// Takes what hosts look at and build from there. They have to be there before the first pass: it would take them from every host.
    #[must_use]
    pub fn with_orders(self, orders: watch::Receiver<Arc<Orders>>) -> Self {
        Self { orders, ..self }
    }

    /// Never returns while the store lives; to be raced against the end of the process.
    pub async fn run(mut self) {
        let mut newest = self.store.watch();
        let (mut logins, mut orders) = (self.logins.clone(), self.orders.clone());
        loop {
            newest.mark_unchanged();
            logins.mark_unchanged();
            orders.mark_unchanged();
            let started = clock::moment();
            let wake = match self.pass().await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::warn!(error = %coord_registry::chain(&error), "cannot decide; trying again");
                    Some(clock::now().mono.after(STORE_RETRY))
                }
            };
            // A fleet that reports all at once gets at most half of a processor.
            let rest = started.elapsed();
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(clock::instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.hosts.changed() => tokio::time::sleep(rest).await,
                Ok(()) = logins.changed() => {}
                Ok(()) = orders.changed() => {}
                () = timer => {}
            }
        }
    }

    /// Loads, decides, writes, tells. Answers when to look again although nothing has changed.
    pub async fn pass(&mut self) -> Result<Option<Mono>, ControlError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let now = clock::now();
            let (observed, next_silence) = self.hosts.observe(now.mono);
            self.model.refresh(&*self.store, reported(&observed)).await?;
            self.hosts.set_known(&self.model.host_names(), now.mono);
            let logins = self.logins.borrow().clone();
            let orders = self.orders.borrow().clone();
            let given = plan::Given { logins: &logins, orders: &orders };
            let plan = plan::plan(&self.model, given, &observed, now);
            if !plan.assign.is_empty() && !self.write(plan.assign).await? {
                continue;
            }
            self.model.fetch_revisions(&*self.store).await?;
            self.tell(given);
            let board = Board::new(&self.model, plan.workloads);
            self.board.send_replace(Arc::new(board));
            return Ok([plan.wake_at, next_silence].into_iter().flatten().min());
        }
        Err(ControlError::Busy)
    }

    /// One compare-and-set over all hosts that are told something new. `false`: somebody else was faster.
    async fn write(&mut self, assign: BTreeMap<HostName, AssignRecord>) -> Result<bool, ControlError> {
        let mut txn = Txn::default();
        for (host, record) in &assign {
            txn = txn.expect(assign_key(host), self.model.assign_revision(host)).put(assign_key(host), encode(record));
        }
        match self.store.txn(txn).await? {
            Committed::Conflict => Ok(false),
            Committed::Yes(revision) => {
                for (host, record) in assign {
                    tracing::info!(host = %host, generation = %record.generation, instances = record.instances.len(), "assigned");
                    self.model.set_assign(host, record, revision);
                }
                Ok(true)
            }
        }
    }

    /// Gives each host whose assignment was written since the last time its new state.
    fn tell(&mut self, given: plan::Given<'_>) {
        for host in self.model.host_names() {
            let revision = self.model.assign_revision(&host).unwrap_or(0);
            if self.compiled.get(&host) == Some(&revision) && self.hosts.has_state(&host) {
                continue;
            }
            match compile::compile(&self.model, given, &host) {
                Ok(state) => {
                    self.hosts.set_state(&host, Arc::new(state));
                    self.compiled.insert(host, revision);
                }
                // It keeps the state that it has: to leave the instance out would stop it.
                Err(error) => tracing::error!(host = %host, "{error}"),
            }
        }
    }
}

/// The revisions that hosts report as ready.
fn reported(observed: &BTreeMap<HostName, Observed>) -> BTreeSet<RevisionKey> {
    let marks = observed.values().flat_map(|host| &host.ready);
    marks.map(|(instance, mark)| (instance.workload.clone(), mark.revision)).collect()
}
