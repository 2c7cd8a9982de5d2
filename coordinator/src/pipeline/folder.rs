//! Pipelines from a watched folder: one file, one pipeline. A broken file leaves the last good text in force.

use super::records::{PIPELINE, PipelineRecord};
use super::{PipelineError, Pipelines};
use crate::documents::folder::{Sink, Taken, Words};
use crate::records::{self, RecordError, Source};
use coord_registry::chain;
use coord_shared::names::PipelineName;
use coord_store::SharedStore;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How the folder's files are named among problems: `pipelines:shop.toml`.
pub(crate) const SOURCE: &str = "pipelines";

/// Takes the files of a folder as pipelines.
pub struct PipelineFolder {
    /// Who keeps them.
    pub pipelines: Arc<Pipelines>,
    /// Where they are kept.
    pub store: SharedStore,
}

impl PipelineFolder {
    async fn in_force(&self) -> Result<BTreeSet<String>, RecordError> {
        let mut files = BTreeSet::new();
        for entry in self.store.range(PIPELINE).await? {
            let record: PipelineRecord = records::decode(&entry.key, &entry.value)?;
            if let (false, Source::Folder(file)) = (record.deleted, record.source) {
                files.insert(file);
            }
        }
        Ok(files)
    }
}

impl Sink for PipelineFolder {
    fn words(&self) -> Words {
        let delete = "coordctl pipeline delete --take-over NAME";
        Words { source: SOURCE, files: "pipelines", thing: "pipeline", delete }
    }

    fn check_name(&self, file: &str) -> Option<Result<(), String>> {
        Some(pipeline_name(file)?.map(drop))
    }

    fn in_force(&self) -> BoxFuture<'_, Result<BTreeSet<String>, RecordError>> {
        Box::pin(self.in_force())
    }

    fn submit<'a>(&'a self, file: &'a str, text: String) -> BoxFuture<'a, Taken> {
        Box::pin(async move {
            let Some(Ok(name)) = pipeline_name(file) else { return Taken::Fine };
            match self.pipelines.submit(&name, &text, Source::Folder(file.to_owned()), false).await {
                Ok(_) => Taken::Fine,
                Err(PipelineError::Invalid { diagnostics, text, .. }) => {
                    Taken::Broken(diagnostics.summary(&text), Some(diagnostics.render(file, &text, false)))
                }
                Err(error @ (PipelineError::Conflict { .. } | PipelineError::Deleted { .. })) => {
                    Taken::Broken(error.to_string(), None)
                }
                Err(error) => Taken::Later(chain(&error)),
            }
        })
    }

    fn remove<'a>(&'a self, file: &'a str) -> BoxFuture<'a, Taken> {
        Box::pin(async move {
            let Some(Ok(name)) = pipeline_name(file) else { return Taken::Fine };
            match self.pipelines.remove(&name, &Source::Folder(file.to_owned()), false).await {
                Ok(_) | Err(PipelineError::Unknown(_) | PipelineError::Conflict { .. }) => Taken::Fine,
                Err(error) => Taken::Later(chain(&error)),
            }
        })
    }
}

/// The pipeline that a file of this name declares; none for hidden files and what editors leave beside a file while they save it.
fn pipeline_name(file: &str) -> Option<Result<PipelineName, String>> {
    if file.starts_with(['.', '#']) {
        return None;
    }
    Some(file.strip_suffix(".toml")?.parse().map_err(|error: coord_shared::names::NameError| error.to_string()))
}
