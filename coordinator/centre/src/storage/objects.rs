//! Blobs as objects of an S3-compatible store: `PREFIX/blobs/sha256/ab/HEX`.
//!
//! A blob is staged on the local disk first, because its digest must be known before it gets a name; then it is put in parts. Parts of an
//! upload that a crash interrupted are invisible and cost room in the bucket until its own rule for incomplete uploads removes them.
//! Deliberately absent: redirects to the bucket (hosts know only their coordinator).

use super::{BlobStream, Stored, blocking};
use crate::config::S3Config;
use crate::error::CentreError;
use bytes::Bytes;
use coord_shared::names::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, WriteMultipart};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Size of a part, in bytes; S3 wants 5 MiB at least.
const PART_MIN_BYTES: u64 = 8 * 1024 * 1024;
/// Most parts of one object (S3 allows 10,000).
const PARTS_MAX: u64 = 9_000;
/// Parts in flight of one upload: enough to fill a link, little enough to hold in memory.
const PARTS_IN_FLIGHT_MAX: usize = 3;
/// How long a connection to the store may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long one request may take. The largest is one part, or one blob that a slow host reads.
const REQUEST_MAX: Duration = Duration::from_secs(4 * 3600);

/// A bucket of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: ObjectPath,
}

impl Objects {
    pub(super) fn open(config: &S3Config) -> Result<Self, CentreError> {
        let (name, secret) = config.keys()?;
        let is_plain = config.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client = ClientOptions::new().with_allow_http(is_plain).with_connect_timeout(CONNECT_MAX).with_timeout(REQUEST_MAX);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_access_key_id(name)
            .with_secret_access_key(secret)
            .with_client_options(client);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
        }
        let object = format!("bucket {}", config.bucket);
        let store = builder.build().map_err(|source| CentreError::Objects { operation: "use", object, source })?;
        Ok(Self::over(Arc::new(store), &config.prefix))
    }

    pub(crate) fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let root = ObjectPath::from(prefix.trim_matches('/')).join("blobs").join("sha256");
        Self { store, root }
    }

    fn path(&self, digest: &Digest) -> ObjectPath {
        self.root.clone().join(&digest.hex()[..2]).join(digest.hex())
    }

    pub(super) async fn commit(&self, staged: PathBuf, digest: &Digest) -> Result<(), CentreError> {
        let path = self.path(digest);
        let bytes = tokio::fs::metadata(&staged).await.map_err(CentreError::disk("look at", &staged))?.len();
        if bytes <= PART_MIN_BYTES {
            let whole = tokio::fs::read(&staged).await.map_err(CentreError::disk("read", &staged))?;
            let put = self.store.put(&path, Bytes::from(whole).into()).await;
            return put.map(drop).map_err(failed("put", &path));
        }
        let upload = self.store.put_multipart(&path).await.map_err(failed("put", &path))?;
        let part_bytes = usize::try_from(part_bytes(bytes)).unwrap_or(usize::MAX);
        let mut upload = WriteMultipart::new_with_chunk_size(upload, part_bytes);
        match send_parts(&mut upload, &staged, part_bytes, &path).await {
            Ok(()) => upload.finish().await.map(drop).map_err(failed("put", &path)),
            Err(error) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(object = %path, error = %error, "parts of a failed upload stay in the bucket");
                }
                Err(error)
            }
        }
    }

    pub(super) async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Option<BlobStream>, CentreError> {
        let path = self.path(digest);
        if length == 0 {
            return Ok(Some(futures_util::stream::empty().boxed()));
        }
        let options = GetOptions::new().with_range(Some(offset..offset.saturating_add(length)));
        let got = match self.store.get_opts(&path, options).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            got => got.map_err(failed("get", &path))?,
        };
        Ok(Some(got.into_stream().map_err(failed("get", &path)).boxed()))
    }

    pub(super) async fn remove(&self, digest: &Digest) -> Result<(), CentreError> {
        let path = self.path(digest);
        match self.store.delete(&path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Stored>, CentreError> {
        let listed = self.store.list(Some(&self.root)).map_err(failed("list", &self.root));
        let stored = listed.try_filter_map(|object| async move {
            let digest = object.location.filename().and_then(|hex| format!("sha256:{hex}").parse().ok());
            let since = Timestamp::from_second(object.last_modified.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH);
            Ok(digest.map(|digest| Stored { digest, bytes: object.size, since }))
        });
        stored.try_collect().await
    }
}

/// How large parts must be for an object of this size.
fn part_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(PARTS_MAX).max(PART_MIN_BYTES)
}

async fn send_parts(upload: &mut WriteMultipart, staged: &Path, part_bytes: usize, path: &ObjectPath) -> Result<(), CentreError> {
    let opened = staged.to_owned();
    let mut file = blocking(move || File::open(&opened).map_err(CentreError::disk("open", &opened))).await?;
    loop {
        upload.wait_for_capacity(PARTS_IN_FLIGHT_MAX).await.map_err(failed("put a part of", path))?;
        let staged = staged.to_owned();
        let (part, rest) = blocking(move || {
            let mut part = Vec::with_capacity(part_bytes);
            let limit = u64::try_from(part_bytes).unwrap_or(u64::MAX);
            (&mut file).take(limit).read_to_end(&mut part).map_err(CentreError::disk("read", &staged))?;
            Ok((part, file))
        })
        .await?;
        if part.is_empty() {
            return Ok(());
        }
        file = rest;
        upload.put(Bytes::from(part));
    }
}

fn failed(operation: &'static str, path: &ObjectPath) -> impl Fn(object_store::Error) -> CentreError + Send + 'static {
    let object = path.to_string();
    move |source| CentreError::Objects { operation, object: object.clone(), source }
}
