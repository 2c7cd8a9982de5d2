//! What a folder's files are given to: documents go to the publisher, other kinds elsewhere. The habits of writers are the same.

use crate::documents::publish::{PublishError, Publisher, Submission, Submitted};
use crate::records::{self, RecordError, Source, WORKLOAD, WaitingRecord, WorkloadRecord};
use coord_registry::chain;
use coord_shared::document;
use coord_shared::names::WorkloadName;
use coord_store::SharedStore;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How people know a folder and its files.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Names the folder among problems, and its files with a colon: `folder:web.toml`.
    pub source: &'static str,
    /// What the files are: `documents`. Also the key in coordinator.toml.
    pub files: &'static str,
    /// What each of them makes: `workload`.
    pub thing: &'static str,
    /// How such a thing is deleted, whoever made it.
    pub delete: &'static str,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is in order.
    Fine,
    /// Its author must mend it: a line, and the rendered mistakes.
    Broken(String, Option<String>),
    /// Something else failed, and another try follows.
    Later(String),
}

/// Takes a folder's files. A name that is no file of its kind is never given to it.
pub trait Sink: Send + Sync {
    /// How people know it.
    fn words(&self) -> Words;
    /// Whether a file of this name is one of the kind; the error: its stem cannot be a name.
    fn check_name(&self, file: &str) -> Option<Result<(), String>>;
    /// The files of everything that is in force.
    fn in_force(&self) -> BoxFuture<'_, Result<BTreeSet<String>, RecordError>>;
    /// A file and its text.
    fn submit<'a>(&'a self, file: &'a str, text: String) -> BoxFuture<'a, Taken>;
    /// A file is gone for good.
    fn remove<'a>(&'a self, file: &'a str) -> BoxFuture<'a, Taken>;
}

/// Documents.
pub struct Documents {
    /// Where it is seen what is published.
    pub store: SharedStore,
    /// Who publishes.
    pub publisher: Arc<Publisher>,
}

impl Documents {
    async fn in_force(&self) -> Result<BTreeSet<String>, RecordError> {
        let mut files = BTreeSet::new();
        for entry in self.store.range(WORKLOAD).await? {
            let record: WorkloadRecord = records::decode(&entry.key, &entry.value)?;
            if let (false, Source::Folder(file)) = (record.deleted, record.source) {
                files.insert(file);
            }
        }
        for entry in self.store.range(records::WAITING).await? {
            if let Source::Folder(file) = records::decode::<WaitingRecord>(&entry.key, &entry.value)?.source {
                files.insert(file);
            }
        }
        Ok(files)
    }

    async fn submit(&self, file: &str, name: WorkloadName, text: String) -> Taken {
        let submission = Submission { name, text, source: Source::Folder(file.to_owned()), take_over: false };
        match self.publisher.submit(submission).await {
            Ok(Submitted::Unchanged(_) | Submitted::Published(_) | Submitted::Waiting(_)) => Taken::Fine,
            Err(PublishError::Invalid { diagnostics, text, .. }) => {
                Taken::Broken(diagnostics.summary(&text), Some(diagnostics.render(file, &text, false)))
            }
            Err(error @ (PublishError::Conflict { .. } | PublishError::Deleted { .. } | PublishError::NotFound(_))) => {
                Taken::Broken(error.to_string(), None)
            }
            Err(error @ (PublishError::Busy(_) | PublishError::Record(_) | PublishError::Store(_))) => {
                Taken::Later(chain(&error))
            }
        }
    }
}

impl Sink for Documents {
    fn words(&self) -> Words {
        let delete = "coordctl delete --take-over NAME";
        Words { source: "folder", files: "documents", thing: "workload", delete }
    }

    fn check_name(&self, file: &str) -> Option<Result<(), String>> {
        Some(document::workload_name(file)?.map(drop).map_err(|error| error.to_string()))
    }

    fn in_force(&self) -> BoxFuture<'_, Result<BTreeSet<String>, RecordError>> {
        Box::pin(self.in_force())
    }

    fn submit<'a>(&'a self, file: &'a str, text: String) -> BoxFuture<'a, Taken> {
        Box::pin(async move {
            match document::workload_name(file) {
                Some(Ok(name)) => self.submit(file, name, text).await,
                Some(Err(_)) | None => Taken::Fine,
            }
        })
    }

    fn remove<'a>(&'a self, file: &'a str) -> BoxFuture<'a, Taken> {
        Box::pin(async move {
            let Some(Ok(name)) = document::workload_name(file) else { return Taken::Fine };
            match self.publisher.remove(&name, &Source::Folder(file.to_owned()), false).await {
                Ok(_) | Err(PublishError::NotFound(_) | PublishError::Conflict { .. }) => Taken::Fine,
                Err(error) => Taken::Later(chain(&error)),
            }
        })
    }
}
