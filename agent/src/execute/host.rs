//! What a container gets of the host itself: devices, limits of its processes, the program that runs it.

use super::Executor;
use coord_runtime::{Backend, DeviceFile};
use coord_shared::document;

impl Executor {
    pub(super) fn devices(&self, _asked: &document::Container) -> Result<Vec<DeviceFile>, String> {
        Ok(Vec::new())
    }

    pub(super) fn rlimits(&self, _asked: &document::Container) -> Vec<(String, u64, u64)> {
        Vec::new()
    }

    pub(super) fn backend(&self, _asked: &document::Container) -> Result<Backend, String> {
        Ok(Backend::Embedded)
    }
}
