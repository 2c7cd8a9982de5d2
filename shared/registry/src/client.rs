//! The client: one image reference and one digest in, verified manifests and streams of blobs out, from whichever place has them.
//!
//! Content has a digest and may come from anywhere: mirrors first, then the location. What a tag stands for is the location's to say;
//! a mirror is believed where the location cannot be reached. A place that fails is passed over, and the next one asked within the same
//! request.

use crate::answer::read_limited;
use crate::auth::TokenCache;
use crate::http::{Clients, Use, load_authorities};
use crate::logins::Logins;
use crate::manifest::{ACCEPTED, MANIFEST_MAX_BYTES, ManifestOrIndex};
use crate::round::{First, Round};
use crate::route::{Entries, Ill, Place};
use crate::send::{Asked, Sender};
use crate::{BlobStream, RegistryConfig, RegistryError};
use coord_shared::names::{Digest, ImageReference};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of an answer, and for the whole of a small one (manifest, token).
    pub answer: Duration,
    /// A blob's body that brings next to nothing for this long has stalled.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(10), answer: Duration::from_secs(30), stall: Duration::from_secs(30) }
    }
}

/// A client of any number of registries. Cheap to clone; connections and tokens are shared.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Sender,
    ill: Ill,
}

/// A mirror that served bytes.
#[derive(Clone)]
pub struct Mirror(pub(crate) Place);

impl Registry {
    /// A client with the given `[[registry]]` entries and the logins of other tools' files (see `login_files`; they may be missing).
    ///
    /// # Errors
    /// `Config` when an entry, an authority file or a login file cannot be used.
    pub fn new(configs: Vec<RegistryConfig>, login_files: impl IntoIterator<Item = PathBuf>) -> Result<Registry, RegistryError> {
        Self::with_timeouts(configs, login_files, Timeouts::default())
    }

    /// The same with other timeouts than the default.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_timeouts(
        configs: Vec<RegistryConfig>,
        login_files: impl IntoIterator<Item = PathBuf>,
        timeouts: Timeouts,
    ) -> Result<Registry, RegistryError> {
        let authorities: Vec<_> = configs.iter().filter_map(|config| config.ca.clone()).collect();
        let entries = Entries::new(configs)?;
        for ca in authorities {
            load_authorities(&ca)?;
        }
        Ok(Self::assemble(entries, Logins::new(login_files)?, timeouts))
    }

    pub(crate) fn assemble(entries: Entries, logins: Logins, timeouts: Timeouts) -> Registry {
        let sender = Sender { entries, logins, timeouts, tokens: TokenCache::default(), clients: Clients::default() };
        Registry { inner: Arc::new(Inner { sender, ill: Ill::default() }) }
    }

    /// Replaces the entries that somebody else hands out (a coordinator, with the host state). They count where no local entry
    /// covers a reference, and their logins where nothing local has one. Those that cannot be used, or that would run a program or
    /// read a file here, are left out with a warning.
    pub fn set_delivered(&self, entries: Vec<RegistryConfig>) {
        let is_harmless = |entry: &RegistryConfig| entry.credential_helper.is_none() && entry.ca.is_none();
        let usable = entries.into_iter().filter(|entry| {
            let problem = entry.check().err().map(|e| e.to_string());
            let problem = problem.or_else(|| (!is_harmless(entry)).then(|| "names a program or a file".to_owned()));
            if let Some(problem) = &problem {
                tracing::warn!(prefix = entry.prefix, problem, "delivered registry entry left out");
            }
            problem.is_none()
        });
        if self.inner.sender.entries.deliver(usable.collect()) {
            self.inner.sender.tokens.clear();
        }
    }

    /// The digest of what the registry serves for the reference: a manifest or an index. A digest in the reference is checked to exist.
    ///
    /// # Errors
    /// `NotFound` names the tag or digest; the others as the registry answers.
    pub async fn resolve(&self, image: &ImageReference) -> Result<Digest, RegistryError> {
        let first = if image.digest().is_some() { First::Mirrors } else { First::Location };
        let mut round = self.round(image, first)?;
        loop {
            let place = round.next()?;
            match self.resolve_at(&place, image).await {
                Ok(digest) => return Ok(digest),
                Err(error) => round.failed(&place, error),
            }
        }
    }

    /// The manifest or index under `digest` in the image's repository; its bytes are verified, at most 4 MiB.
    ///
    /// # Errors
    /// `BadAnswer` when the bytes are not those of the digest, too many, or no manifest.
    pub async fn manifest(&self, image: &ImageReference, digest: &Digest) -> Result<ManifestOrIndex, RegistryError> {
        let (bytes, object) = self.verified_manifest(image, digest).await?;
        ManifestOrIndex::parse(&bytes).map_err(|problem| RegistryError::BadAnswer { object, problem })
    }

    /// The very bytes under `digest`, verified: for whoever keeps a copy, and takes what is no image too.
    ///
    /// # Errors
    /// `BadAnswer` when the bytes are not those of the digest, or too many.
    pub async fn manifest_bytes(&self, image: &ImageReference, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        Ok(self.verified_manifest(image, digest).await?.0)
    }

    /// The bytes, and what to call them in errors.
    async fn verified_manifest(&self, image: &ImageReference, digest: &Digest) -> Result<(Vec<u8>, String), RegistryError> {
        let mut round = self.round(image, First::Mirrors)?;
        loop {
            let place = round.next()?;
            let object = format!("manifest {digest} of {}", place.name);
            match self.manifest_at(&place, digest, &object).await {
                Ok(bytes) => return Ok((bytes, object)),
                Err(error) => round.failed(&place, error),
            }
        }
    }

    /// The bytes `range` of a blob of `size` bytes. Verifying the digest is the caller's, who sees all bytes.
    ///
    /// # Errors
    /// `BadAnswer` when what is served has another size.
    pub async fn blob(
        &self,
        image: &ImageReference,
        digest: &Digest,
        size: u64,
        range: Range<u64>,
    ) -> Result<BlobStream, RegistryError> {
        let round = self.round(image, First::Mirrors)?;
        BlobStream::open(self.clone(), round, digest.clone(), size, range).await
    }

    /// Passes over mirrors that turned out to serve wrong bytes.
    pub fn distrust(&self, mirrors: &[Mirror], digest: &Digest) {
        for Mirror(place) in mirrors {
            let object = format!("blob {digest} of {}", place.name);
            let error = RegistryError::BadAnswer { object, problem: "its bytes are not those of its digest".to_owned() };
            self.pass_over(place, &error);
        }
    }

    fn round(&self, image: &ImageReference, first: First) -> Result<Round, RegistryError> {
        let mut places = self.inner.sender.entries.places(image)?;
        if first == First::Location {
            places.rotate_right(1);
        }
        Ok(Round::new(self.clone(), first, self.inner.ill.last(places)))
    }

    async fn resolve_at(&self, place: &Place, image: &ImageReference) -> Result<Digest, RegistryError> {
        let is_own = place.name == format!("{}/{}", image.registry(), image.repository());
        let object = if is_own { format!("image {image}") } else { format!("image {image} at {}", place.name) };
        let wanted = image.digest().map_or_else(|| image.tag().unwrap_or("latest"), |digest| digest.as_ref());
        let asked = |method| ask_for_manifest(method, wanted, &object);
        let response = self.inner.sender.send(place, &asked(Method::HEAD)).await?;
        if let Some(digest) = image.digest() {
            return Ok(digest.clone());
        }
        let named = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok()?.parse().ok());
        match named {
            Some(digest) => Ok(digest),
            // The header is optional: then the digest is that of the bytes.
            None => Ok(Digest::of(&self.fetch_manifest(place, &asked(Method::GET)).await?)),
        }
    }

    async fn manifest_at(&self, place: &Place, digest: &Digest, object: &str) -> Result<Vec<u8>, RegistryError> {
        let bytes = self.fetch_manifest(place, &ask_for_manifest(Method::GET, digest.as_ref(), object)).await?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            let problem = format!("its content has the digest {actual}; the registry or something before it is broken");
            return Err(RegistryError::BadAnswer { object: object.to_owned(), problem });
        }
        Ok(bytes)
    }

    pub(crate) fn pass_over(&self, place: &Place, error: &RegistryError) {
        let life = self.inner.ill.pass_over(place, error);
        tracing::warn!(place = place.name, error = %crate::chain(error), for_s = life.as_secs(), "passed over, asking elsewhere first");
    }

    pub(crate) fn sender(&self) -> &Sender {
        &self.inner.sender
    }

    async fn fetch_manifest(&self, place: &Place, asked: &Asked<'_>) -> Result<Vec<u8>, RegistryError> {
        let response = self.inner.sender.send(place, asked).await?;
        read_limited(response, asked.object, MANIFEST_MAX_BYTES, self.inner.sender.timeouts.answer).await
    }
}

fn ask_for_manifest<'a>(method: Method, name: &'a str, object: &'a str) -> Asked<'a> {
    let headers = ACCEPTED.into_iter().map(|media_type| (ACCEPT, HeaderValue::from_static(media_type))).collect();
    Asked { method, use_for: Use::Small, headers, kind: "manifests", name, object }
}
