//! What is asked of the door about caches.

use super::Door;
use crate::clock;
use crate::http::{self, Asked, Body, Trouble, encoded};
use coord_shared::names::CacheName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheView, CachesView, Entry, NewCache, PutView, Verified};
use hyper::Method;

impl Door {
    /// Makes one. Where the answer is lost, the next agent is asked whether it was made.
    pub(crate) async fn create_cache(&self, asked: &NewCache) -> Result<CacheView, ErrorBody> {
        let since = clock::now();
        let mut is_again = false;
        self.surely(async || {
            if std::mem::replace(&mut is_again, true)
                && let Ok(made) = self.answer::<CacheView>(Asked::get(format!("/v1/caches/{}", asked.name))).await
                && made.created_at >= since
            {
                return Ok(made);
            }
            self.answer(Asked::post("/v1/caches", asked)).await
        })
        .await
    }

    pub(crate) async fn caches(&self) -> Result<Vec<CacheView>, ErrorBody> {
        let view: CachesView = self.look("/v1/caches").await?;
        Ok(view.caches)
    }

    pub(crate) async fn cache(&self, name: &CacheName) -> Result<CacheView, ErrorBody> {
        self.look(&format!("/v1/caches/{name}")).await
    }

    /// Puts what a tar archive holds below `below`.
    pub(crate) async fn put_archive(&self, name: &CacheName, below: &str, archive: Body) -> Result<PutView, ErrorBody> {
        let path = format!("/v1/caches/{name}/archive?path={}", encoded(below));
        self.answer(Asked::put(path, "application/x-tar", archive)).await
    }

    /// Puts one file.
    pub(crate) async fn put_file(&self, name: &CacheName, path: &str, mode: u32, content: Body) -> Result<PutView, ErrorBody> {
        let path: Vec<String> = path.split('/').map(encoded).collect();
        let path = format!("/v1/caches/{name}/files/{}?mode={mode:04o}", path.join("/"));
        self.answer(Asked::put(path, "application/octet-stream", content)).await
    }

    pub(crate) async fn entries(&self, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        self.surely(async || {
            let response = self.response(Asked::get(format!("/v1/caches/{name}/list"))).await?;
            let mut entries = Vec::new();
            let read = http::lines(response, |line| {
                entries.push(serde_json::from_slice(line).map_err(|e| Trouble::NotUnderstood(e.to_string()))?);
                Ok(true)
            });
            read.await.map_err(|trouble| self.trouble(&trouble))?;
            Ok(entries)
        })
        .await
    }

    pub(crate) async fn verify(&self, name: &CacheName) -> Result<Verified, ErrorBody> {
        self.surely(async || self.answer(Asked::new(Method::POST, format!("/v1/caches/{name}/verify"))).await).await
    }

    /// Deletes one. One that is gone when it is asked for again was deleted.
    pub(crate) async fn remove_cache(&self, name: &CacheName) -> Result<(), ErrorBody> {
        let mut is_again = false;
        self.surely(async || {
            let is_again = std::mem::replace(&mut is_again, true);
            match self.response(Asked::new(Method::DELETE, format!("/v1/caches/{name}"))).await {
                Err(error) if is_again && error.code == "no_such_cache" => Ok(()),
                answer => answer.map(drop),
            }
        })
        .await
    }
}
