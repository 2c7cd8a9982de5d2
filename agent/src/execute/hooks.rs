//! Programs that a container wants to be run in it at two points of its life: once it has started, and before it is asked to end.

use super::Executor;
use crate::clock;
use crate::event::Event;
use crate::inside;
use coord_runtime::ExecSpec;
use coord_shared::decide::Mono;
use coord_shared::document::Hook;
use coord_shared::names::ContainerId;
use coord_shared::quantity::Signal;
use std::time::Duration;

/// Longest run of one `post_start` hook. Compose knows no limit; but a start that never ends would keep a host from its next revision
/// without a word.
const POST_START_MAX: Duration = Duration::from_secs(600);

impl Executor {
    /// Runs the `post_start` hooks of a container, one after the other; the first that fails is the last.
    pub(super) async fn post_start(self, container: ContainerId, hooks: Vec<Hook>) {
        let mut result = Ok(());
        for hook in &hooks {
            result = self.hook(&container, "post_start", hook, POST_START_MAX).await;
            if result.is_err() {
                break;
            }
        }
        self.tell(Event::Hooked { container, result }).await;
    }

    /// Runs the `pre_stop` hooks, and asks the container to end whatever came of them. When the grace period is over before they are
    /// through, it is killed, and there is nothing left to ask.
    pub(super) async fn stop(self, container: ContainerId, hooks: Vec<Hook>, signal: Signal, kill_at: Mono) {
        for hook in &hooks {
            let left = kill_at.since(clock::now().mono);
            if left.is_zero() {
                return;
            }
            if let Err(error) = self.hook(&container, "pre_stop", hook, left).await {
                tracing::warn!(%container, %error, "stopping all the same");
            }
        }
        if clock::now().mono < kill_at {
            self.signal(&container, signal);
        }
    }

    async fn hook(&self, container: &ContainerId, kind: &str, hook: &Hook, limit: Duration) -> Result<(), String> {
        let spec = ExecSpec {
            args: hook.command.clone(),
            env: hook.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: hook.working_dir.clone(),
            user: hook.user.clone(),
            terminal: None,
            stdin: false,
        };
        let ran = inside::run(&self.runtime, &container.to_string(), spec, limit).await;
        ran.map_err(|error| format!("{kind} hook `{}` failed: {}", hook.command.join(" "), crate::chain(&error)))
    }
}
