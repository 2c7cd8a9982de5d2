//! Hands work over to the agent's own thread: what asks for doors may be on any task, what serves them stays on that thread, because some
//! of it (pulls, programs' streams) may not leave it.

use std::pin::Pin;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The way there. Cheap to clone.
#[derive(Clone)]
pub(super) struct Local(mpsc::UnboundedSender<Job>);

impl Local {
    /// To be called on that thread, in its `LocalSet`.
    pub(super) fn start() -> Self {
        // Its senders are the agent's own hands: as many as containers that start or end at a time.
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        tokio::task::spawn_local(async move {
            while let Some(job) = waiting.recv().await {
                drop(tokio::task::spawn_local(job()));
            }
        });
        Self(jobs)
    }

    /// Runs `work` there, to its end whatever becomes of the caller. `None` when the agent is ending.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            let work = work();
            Box::pin(async move { drop(tell.send(work.await)) })
        });
        self.0.send(job).ok()?;
        told.await.ok()
    }
}
