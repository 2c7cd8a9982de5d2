//! Effects without effect, for tests: images made of nothing, and a list of what people were told.

use super::effects::{Assemble, AssembleFailure, Assembly, Tell, Told};
use coord_shared::names::Digest;
use coord_shared::wire::ImageMade;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Makes the image of an archive from its bytes, unless it was told to fail.
#[derive(Default)]
pub(crate) struct FakeLine {
    /// The next answers instead of an image.
    pub(crate) failures: Mutex<VecDeque<AssembleFailure>>,
    /// While set, no image is ever finished.
    pub(crate) hangs: Mutex<bool>,
    /// What was asked for.
    pub(crate) assembled: Mutex<Vec<Assembly>>,
    /// What people were told.
    pub(crate) told: Mutex<Vec<Told>>,
}

impl Assemble for FakeLine {
    fn assemble(&self, assembly: Assembly) -> BoxFuture<'_, Result<ImageMade, AssembleFailure>> {
        Box::pin(async move {
            self.assembled.lock().expect("no panic").push(assembly.clone());
            if *self.hangs.lock().expect("no panic") {
                std::future::pending::<()>().await;
            }
            if let Some(failure) = self.failures.lock().expect("no panic").pop_front() {
                return Err(failure);
            }
            let bytes = std::fs::read(&assembly.archive)
                .map_err(|error| AssembleFailure { message: format!("no archive: {error}"), is_passing: false })?;
            let Assembly { repository, tags, .. } = assembly;
            Ok(ImageMade { repository, digest: Digest::of(&bytes), tags, layer_bytes: bytes.len() as u64 })
        })
    }
}

impl Tell for FakeLine {
    fn tell(&self, told: Told) -> BoxFuture<'_, Result<(), String>> {
        self.told.lock().expect("no panic").push(told);
        Box::pin(std::future::ready(Ok(())))
    }
}
