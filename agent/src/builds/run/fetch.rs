//! The beginning of a run: its source in a fresh workspace, and what is read of it before anything runs.

use super::super::source::Fetch;
use super::super::{BuildError, caches, checkout, places};
use super::{End, Run, blocking, bounded};
use crate::builds::record::StepEnd;
use crate::clock;
use crate::volumes;
use coord_shared::names::Commit;

impl Run {
    /// A fresh workspace with the source in it, and what is read of it before anything runs.
    pub(super) async fn fetch(&mut self) -> Result<StepEnd, End> {
        let order = self.record.order.clone();
        let (tools, pipeline) = (self.tools.clone(), order.run.pipeline.clone());
        self.take_caches_back().await?;
        let (places, disk_bytes, name) = (tools.places.clone(), tools.builder.disk_bytes, pipeline.clone());
        let dropped = blocking(move || {
            volumes::delete(&places.workspace(&name)).map_err(BuildError::Remove)?;
            places::make_folder(&places.workspace(&name))?;
            places::make_folder(&places.kept(&name))?;
            caches::drop_oldest(&places, &name, disk_bytes)
        });
        let dropped = dropped.await?;
        let now = clock::now().wall;
        if dropped > 0 {
            self.log.say("fetch.0", &format!("{dropped} caches went: they took more room than the builder has for them"), now);
        }
        let credentials = match &self.pipeline.source.credentials {
            Some(name) => Some(self.secret(&name.clone()).await?),
            None => None,
        };
        self.mask();
        let wanted = Fetch {
            source: &self.pipeline.source,
            credentials: credentials.as_deref(),
            commit: &order.commit,
            into: tools.places.workspace(&pipeline),
            kept: tools.places.kept(&pipeline),
        };
        let until = self.run_until();
        let log = &mut self.log;
        let mut say = |line: &str| log.tell("fetch.0", line, clock::now().wall);
        let fetched = bounded(&mut self.stop, until, tools.repositories.fetch(wanted, &mut say)).await?;
        self.record.report.commit = Some(fetched);
        self.check_paths(&order.commit, order.since.as_ref()).await?;
        self.read_deploy().await?;
        self.put_caches().await?;
        Ok(StepEnd::default())
    }

    /// Whether the commit changes anything that is built here.
    async fn check_paths(&mut self, commit: &Commit, since: Option<&Commit>) -> Result<(), End> {
        let (tools, pipeline) = (self.tools.clone(), &self.record.order.run.pipeline);
        let Some(since) = since.filter(|_| !self.pipeline.source.paths.is_empty()) else { return Ok(()) };
        let wanted = Fetch {
            source: &self.pipeline.source,
            credentials: self.pipeline.source.credentials.as_ref().and_then(|name| self.secrets.get(name)).map(String::as_str),
            commit,
            into: tools.places.workspace(pipeline),
            kept: tools.places.kept(pipeline),
        };
        let until = self.run_until();
        match bounded(&mut self.stop, until, tools.repositories.changed(&wanted, since)).await? {
            Some(changed) if !checkout::is_of_interest(&self.pipeline.source.paths, &changed) => {
                let text = format!("nothing that this pipeline builds has changed since {}", since.short());
                self.log.say("fetch.0", &text, clock::now().wall);
                Err(End::Skipped)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn read_deploy(&mut self) -> Result<(), End> {
        let Some(deploy) = &self.pipeline.deploy else { return Ok(()) };
        let workspace = self.tools.places.workspace(&self.record.order.run.pipeline);
        let (path, commit) = (deploy.document.clone(), self.record.order.commit.clone());
        let read = tokio::task::spawn_blocking(move || checkout::deploy_document(&workspace, &path, &commit)).await;
        self.record.report.deploy = Some(read.map_err(|_| End::Gone)?.map_err(End::Failed)?);
        Ok(())
    }

    /// Those that lie in the workspace while a run uses them.
    async fn put_caches(&mut self) -> Result<(), End> {
        let pipeline = self.record.order.run.pipeline.clone();
        for path in caches::relative(&self.pipeline) {
            // Noted first: one that is not there is not taken back either.
            self.record.caches_out.push(path.clone());
            self.note().map_err(End::Failed)?;
            let (places, pipeline, cache) = (self.tools.places.clone(), pipeline.clone(), path.clone());
            if !blocking(move || caches::put(&places, &pipeline, &cache)).await? {
                let text = format!("cache {path} is not used: the source has something there itself");
                self.log.say("fetch.0", &text, clock::now().wall);
                self.record.caches_out.pop();
            }
        }
        self.note().map_err(End::Failed)
    }

    pub(super) async fn take_caches_back(&mut self) -> Result<(), End> {
        let pipeline = self.record.order.run.pipeline.clone();
        for path in std::mem::take(&mut self.record.caches_out) {
            let (places, pipeline) = (self.tools.places.clone(), pipeline.clone());
            blocking(move || caches::take_back(&places, &pipeline, &path)).await?;
        }
        Ok(())
    }
}
