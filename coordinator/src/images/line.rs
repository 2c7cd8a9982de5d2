//! Images for pipelines: what a run packed becomes an image like any other archive.

use super::{Assembler, Assembly};
use crate::pipeline::{self, Assemble, AssembleFailure};
use coord_shared::wire::ImageMade;
use futures_util::future::BoxFuture;

impl Assemble for Assembler {
    fn assemble(&self, run: pipeline::Assembly) -> BoxFuture<'_, Result<ImageMade, AssembleFailure>> {
        let pipeline::Assembly { archive, recipe, repository, tags, at, source, commit, run, who } = run;
        let (source, commit, run) = (Some(source), Some(commit), Some(run));
        let assembly = Assembly { archive, recipe, repository, tags, at, source, commit, run, who };
        Box::pin(async move {
            Assembler::assemble(self, assembly)
                .await
                .map_err(|error| AssembleFailure { message: coord_registry::chain(&error), is_passing: error.is_passing() })
        })
    }
}
