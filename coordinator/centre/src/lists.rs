//! Lists: repositories, tags, and what refers to a manifest. All in the order of bytes, a page at a time.

use crate::Centre;
use crate::error::CentreError;
use crate::names::Tag;
use crate::outline::{self, Descriptor};
use crate::records::{self, ManifestRecord, ReferrerRecord, RepositoryRecord, Seen, TagRecord, load, load_all, manifest_key};
use coord_shared::names::{Digest, Repository};

/// Most referrers on one page; each may bring annotations.
const REFERRERS_MAX: usize = 200;
/// Most bytes of annotations on one page of referrers: clients read such a list whole, as they read a manifest.
const ANNOTATIONS_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Some of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

impl<T: Ord> Page<T> {
    /// The first `max` entries after `last`.
    fn cut(mut all: Vec<T>, is_after: impl Fn(&T) -> bool, max: usize) -> Self {
        all.retain(is_after);
        all.sort();
        let has_more = all.len() > max && max > 0;
        all.truncate(max);
        Self { entries: all, has_more }
    }
}

impl Centre {
    /// Repositories after `last`, at most `max`.
    ///
    /// # Errors
    /// The store fails.
    pub async fn repositories(&self, last: Option<&str>, max: usize) -> Result<Page<Repository>, CentreError> {
        let all = self.inner.store.range(records::REPOSITORY).await?;
        let names = all.iter().filter_map(|entry| entry.key.strip_prefix(records::REPOSITORY)?.parse().ok()).collect();
        Ok(Page::cut(names, |name: &Repository| last.is_none_or(|last| name.as_str() > last), max))
    }

    /// Tags of a repository after `last`, at most `max`.
    ///
    /// # Errors
    /// There is no such repository, or the store fails.
    pub async fn tags(&self, repository: &Repository, last: Option<&str>, max: usize) -> Result<Page<Tag>, CentreError> {
        let store = &*self.inner.store;
        let known: Option<Seen<RepositoryRecord>> = load(store, &records::repository_key(repository)).await?;
        if known.is_none() {
            return Err(CentreError::NoRepository(repository.clone()));
        }
        let all = store.range(&records::tag_prefix(repository)).await?;
        let tags = all.iter().filter_map(|entry| records::parse_tag_key(&entry.key)).map(|(_, tag)| tag).collect();
        Ok(Page::cut(tags, |tag: &Tag| last.is_none_or(|last| tag.as_str() > last), max))
    }

    /// All tags of a repository with what they name.
    ///
    /// # Errors
    /// The store fails.
    pub async fn tag_records(&self, repository: &Repository) -> Result<Vec<(Tag, TagRecord)>, CentreError> {
        let all = load_all::<TagRecord>(&*self.inner.store, &records::tag_prefix(repository)).await?;
        Ok(all.into_iter().filter_map(|(key, tag)| Some((records::parse_tag_key(&key)?.1, tag.record))).collect())
    }

    /// Manifests of a repository that say something about `subject`, of one artifact type if asked; those after `last`.
    ///
    /// # Errors
    /// The store fails, or a manifest cannot be read.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
    ) -> Result<Page<Descriptor>, CentreError> {
        let store = &*self.inner.store;
        let all = load_all::<ReferrerRecord>(store, &records::referrer_prefix(repository, subject)).await?;
        let mut page = Page { entries: Vec::new(), has_more: false };
        let mut annotations_bytes = 0;
        for (key, referrer) in all {
            let Some((_, _, digest)) = records::parse_referrer_key(&key) else { continue };
            let kind = referrer.record.artifact_type;
            let is_wanted = artifact_type.is_none_or(|wanted| kind.as_deref() == Some(wanted));
            if !is_wanted || last.is_some_and(|last| digest.as_str() <= last) {
                continue;
            }
            if page.entries.len() >= REFERRERS_MAX || annotations_bytes > ANNOTATIONS_MAX_BYTES {
                page.has_more = true;
                break;
            }
            let found: Option<Seen<ManifestRecord>> = load(store, &manifest_key(repository, &digest)).await?;
            let (Some(found), Some(manifest)) = (found, self.manifest(repository, &digest).await?) else { continue };
            let annotations = outline::annotations(&manifest.bytes);
            annotations_bytes += annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            let (media_type, bytes) = (found.record.media_type, found.record.bytes);
            page.entries.push(Descriptor { media_type, digest, bytes, artifact_type: kind, annotations });
        }
        Ok(page)
    }
}
