//! Doors of steps that may start containers within themselves. They are within the limits of the builder as the step itself is: what runs
//! within counts against the step's groups, and what it writes against the builder's limit of the disk.

use super::tools::Tools;
use crate::config::BuilderConfig;
use crate::engine::Engine;
use crate::nested::{NewParent, ParentKind, log_folder};
use coord_runtime::{Mount, Resources};
use coord_shared::document::Nested;
use coord_shared::names::{PinnedImage, RunId};
use coord_shared::quantity::{ByteSize, MilliCpus};

impl Tools {
    /// Makes the door of a step's container that is about to be started, and says what is mounted for it. The error is in words for people.
    pub(super) async fn open_door(
        &self,
        engine: &Engine,
        container: &str,
        (run, step): (&RunId, &str),
        (permission, image): (Nested, PinnedImage),
    ) -> Result<Vec<Mount>, String> {
        let parent = NewParent {
            container: container.to_owned(),
            shown: format!("{run} {step}"),
            kind: ParentKind::Step,
            runtime: engine.runtime.clone(),
            permission,
            image,
        };
        self.doors.open(parent).await
    }

    /// Ends what runs within a step, if anything does. What that has logged goes with it: a step may have handed it a secret.
    pub(super) async fn close_door(&self, container: &str) {
        self.doors.close(container).await;
        let logs = log_folder(&self.config.state_dir.join("log")).join(container);
        if logs.exists()
            && let Ok(Err(error)) = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(logs)).await
        {
            tracing::warn!(%container, %error, "logs of what ran within a step stay for a week");
        }
    }

    /// Takes over the doors that an earlier agent has left, or what is left of them. To be called once, before anything is started.
    pub(super) async fn recover_doors(&self) {
        if !self.places.has_containers() && !self.doors.has_left(ParentKind::Step) {
            return;
        }
        match self.engine() {
            Ok(engine) => self.doors.recover(ParentKind::Step, &engine.runtime, &engine.running()).await,
            Err(error) => {
                tracing::error!(error = %crate::chain(&error), "cannot tell what has become of steps that run");
            }
        }
    }
}

/// What a step may start within itself, as far as the builder allows it; `limits` are the step's own.
pub(super) fn permission(asked: &Nested, limits: &Resources, builder: &BuilderConfig) -> Nested {
    let memory = [asked.memory, limits.memory_bytes.map(ByteSize)];
    let cpus = [asked.cpus, limits.cpus_milli.map(MilliCpus)];
    Nested {
        memory: memory.into_iter().flatten().min(),
        cpus: cpus.into_iter().flatten().min(),
        pids: limits.pids.map_or(asked.pids, |most| asked.pids.min(most)),
        caches: asked.caches.min(ByteSize(builder.disk_bytes)),
        ..asked.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_is_never_asked_for_more_than_it_gives() {
        let builder = BuilderConfig {
            runs: 1,
            host_steps: false,
            host_network: false,
            user: "nobody".to_owned(),
            memory_bytes: 64 << 20,
            cpus_milli: None,
            pids: 50,
            disk_bytes: 100 << 20,
        };
        let limits = Resources { memory_bytes: Some(64 << 20), cpus_milli: Some(500), pids: Some(50), ..Resources::default() };
        let asked = Nested { memory: Some(ByteSize(1 << 30)), cpus: Some(MilliCpus(4000)), ..Nested::default() };
        let expect = Nested {
            memory: Some(ByteSize(64 << 20)),
            cpus: Some(MilliCpus(500)),
            pids: 50,
            caches: ByteSize(100 << 20),
            ..Nested::default()
        };
        assert_eq!(permission(&asked, &limits, &builder), expect);
        let less = Nested { memory: Some(ByteSize(1 << 20)), cpus: Some(MilliCpus(100)), pids: 5, caches: ByteSize(9), ..expect };
        assert_eq!(permission(&less, &limits, &builder), less);
    }
}
