//! The door of a container that may start others within itself.

use super::Executor;
use crate::nested::{NewParent, ParentKind};
use coord_runtime::{Backend, Mount};
use coord_shared::decide::planner::Spec;
use coord_shared::names::ContainerId;

impl Executor {
    /// Makes the door where the document has one, and says what is mounted for it. It is closed again when the start fails, or the container
    /// is removed. The error is in words for the operator.
    pub(super) async fn door(&self, container: &ContainerId, spec: &Spec, backend: &Backend) -> Result<Vec<Mount>, String> {
        let Some(permission) = &spec.document.container.nested else { return Ok(Vec::new()) };
        if let Backend::External(program) = backend {
            return Err(format!(
                "a container with `nested` cannot be run by {}: others run within it, which only the agent's own runtime can; \
                 set runtime = \"embedded\", or take `nested` out",
                program.display()
            ));
        }
        let parent = NewParent {
            container: container.to_string(),
            shown: container.instance.to_string(),
            kind: ParentKind::Instance,
            runtime: self.runtime.clone(),
            permission: permission.clone(),
            image: spec.image.clone(),
        };
        self.doors.open(parent).await
    }

    /// A container has ended: whatever runs within it ends, too. Does nothing where it has no door.
    pub(crate) fn close_door(&self, container: &str) {
        if self.doors.knows(container) {
            let (doors, container) = (self.doors.clone(), container.to_owned());
            drop(tokio::spawn(async move { doors.close(&container).await }));
        }
    }
}
