//! What an image reference stands for right now: the one question that publishing asks a registry.

use coord_registry::Registry;
use coord_shared::names::{Digest, ImageReference};
use futures_util::future::BoxFuture;

/// Why an image could not be resolved, with its cure, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolveError(pub String);

/// Asks what an image stands for.
pub trait ResolveImage: Send + Sync {
    /// The digest that `image` names now; one that is written in it is checked to exist.
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Result<Digest, ResolveError>>;
}

impl ResolveImage for Registry {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        Box::pin(async move { self.resolve(image).await.map_err(|e| ResolveError(coord_registry::chain(&e))) })
    }
}

/// A registry made of a table, for tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// Resolves what it was told, and fails for everything else.
    #[derive(Default)]
    pub(crate) struct FakeImages {
        images: Mutex<BTreeMap<String, Digest>>,
        pub(crate) asked: Mutex<Vec<String>>,
    }

    impl FakeImages {
        /// From now on `image` stands for the digest of `content`.
        pub(crate) fn serve(&self, image: &str, content: &str) -> Digest {
            let digest = Digest::of(content.as_bytes());
            let image: ImageReference = image.parse().expect("an image reference");
            self.images.lock().expect("no panic").insert(image.to_string(), digest.clone());
            digest
        }

        /// From now on the registry is away.
        pub(crate) fn cut(&self) {
            self.images.lock().expect("no panic").clear();
        }
    }

    impl ResolveImage for FakeImages {
        fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Result<Digest, ResolveError>> {
            self.asked.lock().expect("no panic").push(image.to_string());
            let found = self.images.lock().expect("no panic").get(&image.to_string()).cloned();
            let answer = found.ok_or_else(|| ResolveError(format!("registry {} is unreachable", image.registry())));
            Box::pin(std::future::ready(answer))
        }
    }
}
