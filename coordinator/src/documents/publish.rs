//! Publish: a text becomes a revision, in one transaction with its history entry.
//!
//! What never happens here: a broken text changing anything, one source overwriting another's name unasked, a revision number used
//! twice, a revision without a pinned image.

use super::waiting::WaitingBoard;
use crate::clock;
use crate::records::{
    self, RecordError, RevisionRecord, Source, WaitingRecord, WorkloadRecord, encode, history_key, revision_key, waiting_key,
    workload_key,
};
use coord_shared::document::{self, Diagnostics, Document};
use coord_shared::names::{Digest, ImageReference, Revision, WorkloadName};
use coord_shared::wire::{ChangeView, HistoryAction, HistoryEntry, Origin};
use coord_store::{Committed, SharedStore, StoreError, StoreRevision, Txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Attempts at a compare-and-set before giving up; each loses only to another writer's success on the same name.
const TXN_ATTEMPTS_MAX: u32 = 10;

/// A text that a source wants published under a name.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The workload.
    pub name: WorkloadName,
    /// The document.
    pub text: String,
    /// Who submits it.
    pub source: Source,
    /// Whether to take the name over if it belongs to another source.
    pub take_over: bool,
}

/// What is known of a submission whose image was made here.
#[derive(Debug, Clone)]
pub struct Made {
    /// What the document's image stands for: nobody has to be asked.
    pub digest: Digest,
    /// What it was made from.
    pub origin: Origin,
    /// Who publishes it, for the history.
    pub who: String,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is what is published already.
    Unchanged(Revision),
    /// It is a new revision.
    Published(Published),
    /// It waits for its image to be resolved; the number of the transaction that keeps it.
    Waiting(StoreRevision),
}

/// A new revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub revision: Revision,
    /// What changed.
    pub changes: Vec<ChangeView>,
    /// The transaction that wrote it.
    pub at: StoreRevision,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The text breaks the rules of documents.
    #[error("document {name} is invalid: {}", .diagnostics.summary(.text))]
    Invalid {
        /// The workload.
        name: WorkloadName,
        /// Every mistake.
        diagnostics: Diagnostics,
        /// The text.
        text: String,
    },
    /// The name belongs to another source.
    #[error("workload {name} belongs to {owner}")]
    Conflict {
        /// The workload.
        name: WorkloadName,
        /// Whose it is.
        owner: Source,
    },
    /// Another source deleted it, and the text is still the one that was deleted.
    #[error("workload {name} was deleted by {by}; change the document to publish it again, or remove it")]
    Deleted {
        /// The workload.
        name: WorkloadName,
        /// Who deleted it.
        by: Source,
    },
    /// There is nothing of that name to delete.
    #[error("workload {0} is not known")]
    NotFound(WorkloadName),
    /// Others wrote the same name, again and again.
    #[error("workload {0} is being changed by others; try again")]
    Busy(WorkloadName),
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Publishes texts.
pub struct Publisher {
    store: SharedStore,
    /// What waits, as the resolver sees it.
    pub waiting: Arc<WaitingBoard>,
    published: AtomicU64,
}

/// Where a name stands, with the transactions that wrote it.
pub(crate) struct Standing {
    pub(crate) workload: Option<(WorkloadRecord, StoreRevision)>,
    pub(crate) waiting: Option<(WaitingRecord, StoreRevision)>,
    /// The last revision that had a text, also that of a deleted workload.
    pub(crate) last: Option<RevisionRecord>,
}

impl Standing {
    /// The record, unless the workload is deleted.
    pub(crate) fn active(&self) -> Option<&WorkloadRecord> {
        self.workload.as_ref().map(|(record, _)| record).filter(|record| !record.deleted)
    }

    /// What is published; nothing for a deleted workload.
    pub(crate) fn published(&self) -> Option<&RevisionRecord> {
        self.active().and(self.last.as_ref())
    }

    fn owner(&self) -> Option<&Source> {
        self.active().map(|record| &record.source).or(self.waiting.as_ref().map(|(record, _)| &record.source))
    }

    fn newest(&self) -> Revision {
        self.workload.as_ref().map_or(Revision(0), |(record, _)| record.newest)
    }

    fn expects(&self, name: &WorkloadName) -> Txn {
        Txn::default()
            .expect(workload_key(name), self.workload.as_ref().map(|(_, revision)| *revision))
            .expect(waiting_key(name), self.waiting.as_ref().map(|(_, revision)| *revision))
    }
}

impl Publisher {
    /// A publisher over `store`.
    pub fn new(store: SharedStore) -> Self {
        Self { store, waiting: Arc::default(), published: AtomicU64::new(0) }
    }

    /// How many revisions this process has published.
    pub fn published_count(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Publishes a text, or keeps it until its image is resolved.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, PublishError> {
        let document = parse(&submission.name, &submission.text)?;
        for _ in 0..TXN_ATTEMPTS_MAX {
            let standing = self.standing(&submission.name).await?;
            check_owner(&submission, &standing)?;
            if let Some(done) = self.submit_once(&submission, &document, &standing).await? {
                return Ok(done);
            }
        }
        Err(PublishError::Busy(submission.name))
    }

    /// Whether a text may be published under its name by its source, as things stand.
    ///
    /// # Errors
    /// As `submit` would answer.
    pub async fn may_submit(&self, submission: &Submission) -> Result<(), PublishError> {
        check_owner(submission, &self.standing(&submission.name).await?)
    }

    /// Publishes a text whose image was made here. Doing it again changes nothing.
    pub async fn publish_made(&self, submission: &Submission, made: &Made) -> Result<Submitted, PublishError> {
        let Submission { name, text, source, .. } = submission;
        let document = parse(name, text)?;
        for _ in 0..TXN_ATTEMPTS_MAX {
            let standing = self.standing(name).await?;
            check_owner(submission, &standing)?;
            if let Some((record, published)) = standing.active().zip(standing.published())
                && published.text == *text
                && published.digest == made.digest
            {
                if let Some(kept) = self.keep(name, source, record, &standing).await? {
                    return Ok(kept);
                }
                continue;
            }
            let (digest, document) = (made.digest.clone(), &document);
            let publish = Publish { name, text, source, document, digest, made: Some(made) };
            if let Some(published) = self.publish(&publish, &standing).await? {
                return Ok(Submitted::Published(published));
            }
        }
        Err(PublishError::Busy(name.clone()))
    }

    /// `None`: somebody else was faster; look again.
    async fn submit_once(
        &self,
        submission: &Submission,
        document: &Document,
        standing: &Standing,
    ) -> Result<Option<Submitted>, PublishError> {
        let Submission { name, text, source, .. } = submission;
        if let Some((waiting, at)) = &standing.waiting
            && waiting.text == *text
            && waiting.source == *source
        {
            return Ok(Some(Submitted::Waiting(*at)));
        }
        if let Some((record, published)) = standing.active().zip(standing.published())
            && published.text == *text
        {
            return self.keep(name, source, record, standing).await;
        }
        if let Some(digest) = pinned_already(document, standing.published()) {
            let publish = Publish { name, text, source, document, digest, made: None };
            return Ok(self.publish(&publish, standing).await?.map(Submitted::Published));
        }
        let waiting =
            WaitingRecord { text: text.clone(), image: document.image.clone(), source: source.clone(), at: clock::wall() };
        let txn = standing.expects(name).put(waiting_key(name), encode(&waiting));
        match self.store.txn(txn).await? {
            Committed::Conflict => Ok(None),
            Committed::Yes(at) => {
                self.waiting.begin(name, at, &waiting);
                Ok(Some(Submitted::Waiting(at)))
            }
        }
    }

    /// The text is the published one: whatever waited is withdrawn, and the name may change hands.
    async fn keep(
        &self,
        name: &WorkloadName,
        source: &Source,
        record: &WorkloadRecord,
        standing: &Standing,
    ) -> Result<Option<Submitted>, PublishError> {
        let mut txn = standing.expects(name);
        if !record.source.is_same_owner(source) {
            txn = txn.put(workload_key(name), encode(&WorkloadRecord { source: source.clone(), ..record.clone() }));
        }
        if standing.waiting.is_some() {
            txn = txn.delete(waiting_key(name));
        }
        if txn.writes.is_empty() {
            return Ok(Some(Submitted::Unchanged(record.newest)));
        }
        match self.store.txn(txn).await? {
            Committed::Conflict => Ok(None),
            Committed::Yes(_) => {
                self.waiting.end(name);
                Ok(Some(Submitted::Unchanged(record.newest)))
            }
        }
    }

    /// Publishes a text that waited, now that its image is resolved. `None`: it was replaced or withdrawn in the meantime.
    pub(crate) async fn publish_waiting(
        &self,
        name: &WorkloadName,
        at: StoreRevision,
        digest: Digest,
    ) -> Result<Option<Published>, PublishError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let standing = self.standing(name).await?;
            let Some((waiting, _)) = standing.waiting.as_ref().filter(|(_, revision)| *revision == at) else {
                return Ok(None);
            };
            let document = parse(name, &waiting.text)?;
            let (text, source) = (&waiting.text, &waiting.source);
            let publish = Publish { name, text, source, document: &document, digest: digest.clone(), made: None };
            if let Some(published) = self.publish(&publish, &standing).await? {
                return Ok(Some(published));
            }
        }
        Err(PublishError::Busy(name.clone()))
    }

    /// One compare-and-set: the next revision, its history entry, and the workload's record. `None`: somebody else was faster.
    async fn publish(&self, new: &Publish<'_>, standing: &Standing) -> Result<Option<Published>, PublishError> {
        let old = standing.published();
        let changes = changes(old, Some((new.document, &new.digest)));
        let revision = Revision(standing.newest().0 + 1);
        let at = clock::wall();
        let record = RevisionRecord {
            text: new.text.to_owned(),
            image: new.document.image.clone(),
            digest: new.digest.clone(),
            at,
            origin: new.made.map(|made| made.origin.clone()),
        };
        let workload = WorkloadRecord { newest: revision, source: new.source.clone(), at, deleted: false, last_text: revision };
        let entry = HistoryEntry {
            revision,
            at,
            who: new.made.map_or_else(|| new.source.who().to_owned(), |made| made.who.clone()),
            source: new.source.to_string(),
            action: if old.is_some() { HistoryAction::Update } else { HistoryAction::Create },
            image: Some(record.image.clone()),
            digest: Some(record.digest.clone()),
            changes: changes.clone(),
        };
        let mut txn = standing
            .expects(new.name)
            .put(revision_key(new.name, revision), encode(&record))
            .put(history_key(new.name, revision), encode(&entry))
            .put(workload_key(new.name), encode(&workload));
        if standing.waiting.is_some() {
            txn = txn.delete(waiting_key(new.name));
        }
        match self.store.txn(txn).await? {
            Committed::Conflict => Ok(None),
            Committed::Yes(at) => {
                self.waiting.end(new.name);
                self.published.fetch_add(1, Ordering::Relaxed);
                tracing::info!(workload = %new.name, %revision, source = %new.source, image = %record.image, digest = %record.digest.short(), "published");
                Ok(Some(Published { revision, changes, at }))
            }
        }
    }

    /// Deletes a workload: its hosts stop it; its history stays, and its revisions go on from there if it returns. Answers the
    /// deletion's own number, where there was something published.
    pub async fn remove(&self, name: &WorkloadName, source: &Source, take_over: bool) -> Result<Published, PublishError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let standing = self.standing(name).await?;
            match standing.owner() {
                None => return Err(PublishError::NotFound(name.clone())),
                Some(owner) if !take_over && !owner.is_same_owner(source) => {
                    return Err(PublishError::Conflict { name: name.clone(), owner: owner.clone() });
                }
                Some(_) => {}
            }
            if let Some(removed) = self.remove_once(name, source, &standing).await? {
                return Ok(removed);
            }
        }
        Err(PublishError::Busy(name.clone()))
    }

    async fn remove_once(
        &self,
        name: &WorkloadName,
        source: &Source,
        standing: &Standing,
    ) -> Result<Option<Published>, PublishError> {
        let mut txn = standing.expects(name);
        if standing.waiting.is_some() {
            txn = txn.delete(waiting_key(name));
        }
        let (mut revision, mut changed) = (standing.newest(), Vec::new());
        if let Some(active) = standing.active() {
            let at = clock::wall();
            revision = Revision(active.newest.0 + 1);
            changed = changes(standing.published(), None);
            let entry = HistoryEntry {
                revision,
                at,
                who: source.who().to_owned(),
                source: source.to_string(),
                action: HistoryAction::Delete,
                image: None,
                digest: None,
                changes: changed.clone(),
            };
            let record = WorkloadRecord { newest: revision, source: source.clone(), at, deleted: true, ..active.clone() };
            txn = txn.put(history_key(name, revision), encode(&entry)).put(workload_key(name), encode(&record));
        }
        match self.store.txn(txn).await? {
            Committed::Conflict => Ok(None),
            Committed::Yes(at) => {
                self.waiting.end(name);
                tracing::info!(workload = %name, %revision, source = %source, "deleted");
                Ok(Some(Published { revision, changes: changed, at }))
            }
        }
    }

    /// Loads where a name stands.
    pub(crate) async fn standing(&self, name: &WorkloadName) -> Result<Standing, RecordError> {
        let store = &*self.store;
        let workload = records::load::<WorkloadRecord>(store, &workload_key(name)).await?;
        let waiting = records::load(store, &waiting_key(name)).await?;
        let last = match &workload {
            Some((record, _)) => records::load(store, &revision_key(name, record.last_text)).await?.map(|(last, _)| last),
            None => None,
        };
        Ok(Standing { workload, waiting, last })
    }
}

/// Everything that one revision is made of.
struct Publish<'a> {
    name: &'a WorkloadName,
    text: &'a str,
    source: &'a Source,
    document: &'a Document,
    digest: Digest,
    made: Option<&'a Made>,
}

/// The document in `text`.
pub(crate) fn parse(name: &WorkloadName, text: &str) -> Result<Document, PublishError> {
    document::parse(text).map_err(|diagnostics| PublishError::Invalid { name: name.clone(), diagnostics, text: text.to_owned() })
}

/// What changes between the published revision and a new one; a tag that moved counts, although no key of the text changed.
pub(crate) fn changes(old: Option<&RevisionRecord>, new: Option<(&Document, &Digest)>) -> Vec<ChangeView> {
    let old_document = old.and_then(|record| document::parse(&record.text).ok());
    let mut changes = document::diff(old_document.as_ref(), new.map(|(document, _)| document));
    if let (Some(old), Some((document, digest))) = (old, new)
        && old.digest != *digest
        && old.image == document.image
    {
        let (old, new) = (Some(pinned(&old.image, &old.digest)), Some(pinned(&document.image, digest)));
        changes.insert(0, ChangeView { key: "image".to_owned(), old, new, replaces: true });
    }
    changes
}

fn pinned(image: &ImageReference, digest: &Digest) -> String {
    image.clone().pin(digest.clone()).to_string()
}

/// The digest, where nothing needs to be asked: it is written in the reference, and the same reference is published already.
fn pinned_already(document: &Document, published: Option<&RevisionRecord>) -> Option<Digest> {
    let published = published.filter(|record| record.image == document.image)?;
    document.image.digest().filter(|digest| **digest == published.digest).cloned()
}

fn check_owner(submission: &Submission, standing: &Standing) -> Result<(), PublishError> {
    let Submission { name, text, source, take_over } = submission;
    if *take_over {
        return Ok(());
    }
    if let Some(owner) = standing.owner() {
        let conflict = || PublishError::Conflict { name: name.clone(), owner: owner.clone() };
        return if owner.is_same_owner(source) { Ok(()) } else { Err(conflict()) };
    }
    // A file that stays where it was must not bring back what an admin deleted on purpose.
    if let Some((record, _)) = &standing.workload
        && matches!(source, Source::Folder(_))
        && !record.source.is_same_owner(source)
        && standing.last.as_ref().is_some_and(|last| last.text == *text)
    {
        return Err(PublishError::Deleted { name: name.clone(), by: record.source.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
