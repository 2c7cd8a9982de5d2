//! One run, from the fetch of its source to the coordinator's receipt of its archive: step by step, each noted before it begins and after it
//! has ended.
//!
//! The source is fetched into a workspace that nobody has used; the deploy requirement is read from it before any step has touched it; the
//! archive is packed after the last test. What cannot be done fails the run, in words; only a coordinator that is away is waited for.

mod fetch;

use super::door::DoorError;
use super::log::RunLog;
use super::mask::Masks;
use super::prepare::StageRoot;
use super::record::{Record, StepEnd};
use super::send::{self, LogSender};
use super::spec::{About, step_spec};
use super::step::{self, Step};
use super::tools::Tools;
use super::verdict::Bounds;
use super::{Stop, nested, places, spec, stopped};
use crate::clock;
use crate::volumes;
use coord_archive::{PackLimits, pack};
use coord_runtime::ContainerSpec;
use coord_shared::decide::{Mono, backoff};
use coord_shared::names::SecretName;
use coord_shared::pipeline::{Pipeline, Stage};
use coord_shared::quantity::Span;
use coord_shared::wire::{ArchiveReport, BuildPhase};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::rc::Rc;
use tokio::sync::watch;

/// Why a run goes no further.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    /// In words.
    Failed(String),
    /// A step failed; what is wrong stands there.
    FailedStep(Box<StepEnd>),
    /// Nothing of interest changed.
    Skipped,
    /// Somebody wanted that.
    Cancelled,
    /// Nobody asks for it any more.
    Gone,
}

/// A run that is worked on.
pub(super) struct Run {
    tools: Rc<Tools>,
    pipeline: Pipeline,
    record: Record,
    log: RunLog,
    log_sender: LogSender,
    stop: watch::Receiver<Stop>,
    roots: BTreeMap<String, StageRoot>,
    secrets: BTreeMap<SecretName, String>,
}

impl Run {
    /// A run as it was noted, or a new one. The error is in words.
    pub(super) fn open(
        tools: Rc<Tools>,
        pipeline: Pipeline,
        record: Record,
        stop: watch::Receiver<Stop>,
    ) -> Result<Self, String> {
        let run = record.order.run.clone();
        places::make_folder(&tools.places.of_run(&run)).map_err(|error| crate::chain(&error))?;
        let log = RunLog::open(&tools.places.log(&run)).map_err(|error| crate::chain(&error))?;
        let log_sender = LogSender::new(tools.door.clone(), run, log.path());
        Ok(Self { tools, pipeline, record, log, log_sender, stop, roots: BTreeMap::new(), secrets: BTreeMap::new() })
    }

    /// Works until it is over, and everybody knows.
    pub(super) async fn work(mut self) {
        if !self.record.report.phase.is_over() {
            let ended = match self.begin() {
                Ok(()) => self.steps().await,
                Err(problem) => Err(End::Failed(problem)),
            };
            if ended == Err(End::Gone) {
                return;
            }
            self.over(ended).await;
        }
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.log_sender.send() => self.tools.board.tell_build(&self.record.report),
            () = gone(&mut stop) => {}
        }
    }

    /// After a boot the run begins anew; the images that it uses are nobody's to remove.
    fn begin(&mut self) -> Result<(), String> {
        let now = clock::now().wall;
        let (boot, attempt) = (self.tools.boot.clone(), self.record.attempt);
        let survived = self.record.survive_boot(&self.pipeline, &boot, now);
        if self.record.attempt != attempt {
            self.log.say("fetch.0", "the host went down: the run begins again", now);
        }
        survived?;
        self.note_images()?;
        self.note()
    }

    async fn steps(&mut self) -> Result<(), End> {
        while let Some(index) = self.record.next_step() {
            self.check_stop()?;
            self.record.step_begins(index, clock::now().wall);
            self.note().map_err(End::Failed)?;
            self.tell();
            let done = self.step(index).await;
            let end = match &done {
                Ok(end) => end.clone(),
                Err(End::FailedStep(end)) => (**end).clone(),
                Err(End::Failed(problem)) => self.failure(index, problem),
                Err(End::Cancelled) => StepEnd { problem: Some("was cancelled".to_owned()), ..StepEnd::default() },
                Err(End::Skipped) => StepEnd::default(),
                Err(End::Gone) => {
                    // Not where the agent is ending: then what runs goes on.
                    if *self.stop.borrow() == Stop::Gone {
                        self.remove_container(index).await;
                    }
                    return Err(End::Gone);
                }
            };
            self.record.step_ends(index, end, clock::now().wall);
            self.note().map_err(End::Failed)?;
            self.remove_container(index).await;
            self.tell();
            tokio::task::spawn_local(self.log_sender.clone().try_send());
            done?;
        }
        Ok(())
    }

    async fn step(&mut self, index: usize) -> Result<StepEnd, End> {
        let Some(step) = self.record.report.steps.get(index) else { return Ok(StepEnd::default()) };
        match step.stage.as_str() {
            "fetch" => self.fetch().await,
            "build" | "test" => self.command(index).await,
            "package" => self.package().await,
            _ => self.upload().await,
        }
    }

    /// A command in a container.
    async fn command(&mut self, index: usize) -> Result<StepEnd, End> {
        let tools = self.tools.clone();
        let Some(told) = self.record.report.steps.get(index).cloned() else { return Ok(StepEnd::default()) };
        let Some(stage) = self.stage(&told.stage) else { return Ok(StepEnd::default()) };
        let engine = tools.engine().map_err(|error| End::Failed(crate::chain(&error)))?;
        let mut secrets = Vec::new();
        for (variable, name) in &stage.secrets {
            secrets.push((variable.clone(), self.secret(name).await?));
        }
        self.mask();
        let container = places::container(&self.record.order.run, &told.name(), self.record.attempt);
        let raw_log = tools.places.raw_log(&container, !secrets.is_empty());
        let began = told.started_at.map_or(clock::now().mono, |at| clock::mono_at(at, clock::now()));
        let limits = spec::limits(&stage, &tools.builder);
        let pipeline = &self.record.order.run.pipeline;
        let step = Step {
            engine,
            doors: &tools.doors,
            name: told.name(),
            container: container.clone(),
            raw_log,
            until: step::earlier((began.after(stage.timeout.0), stage.timeout), self.run_until()),
            folders: vec![tools.places.work(pipeline), tools.places.upper(&container)],
            bounds: Bounds {
                memory_bytes: limits.memory_bytes.unwrap_or_default(),
                pids: limits.pids.unwrap_or_default(),
                pids_refused: 0,
                disk_bytes: tools.builder.disk_bytes,
            },
        };
        if !engine.has_found(&container) {
            let root = self.root(&told.stage, &stage).await?;
            let about = self.about();
            let ready = tools.ready(&self.record, &stage, &root, (&told.name(), secrets)).await.map_err(End::Failed)?;
            let made = step_spec((&stage, &told.command), &about, ready, &tools.builder, root.is_host);
            let made = self.with_door(&step, &stage, made).await.map_err(End::Failed)?;
            step.start(made).await.map_err(End::Failed)?;
        }
        let end = step.finish(&mut self.log, &mut self.stop).await;
        self.check_stop()?;
        let is_good = end.problem.is_none() && end.exit.as_ref().is_some_and(coord_shared::wire::Exit::is_success);
        if is_good { Ok(end) } else { Err(End::FailedStep(Box::new(end))) }
    }

    /// With a door where the step may start containers within itself. It is closed when the step has ended.
    async fn with_door(&self, step: &Step<'_>, stage: &Stage, made: ContainerSpec) -> Result<ContainerSpec, String> {
        let digest = step.name.split('.').next().and_then(|name| self.record.images.get(name));
        let (Some(asked), Some(image), Some(digest)) = (&stage.nested, &stage.image, digest) else { return Ok(made) };
        let tools = &self.tools;
        let permission = nested::permission(asked, &made.resources, &tools.builder);
        let (run, image) = (&self.record.order.run, image.clone().pin(digest.clone()));
        let door = tools.open_door(step.engine, &step.container, (run, &step.name), (permission, image)).await?;
        let mounts = made.mounts.into_iter().chain(door).collect();
        Ok(ContainerSpec { mounts, nests: true, ..made })
    }

    /// What the steps of a stage run in: the same for all of them, and for the tests what built, where they name nothing else.
    async fn root(&mut self, name: &str, stage: &Stage) -> Result<StageRoot, End> {
        if let Some(root) = self.roots.get(name) {
            return Ok(root.clone());
        }
        let tools = self.tools.clone();
        let until = self.run_until();
        let root = match &stage.image {
            None => bounded(&mut self.stop, until, tools.host_root()).await?,
            Some(image) => {
                let digest = match self.record.images.get(name) {
                    Some(digest) => digest.clone(),
                    None => bounded(&mut self.stop, until, tools.resolve(image)).await?,
                };
                self.record.images.insert(name.to_owned(), digest.clone());
                self.note_images().map_err(End::Failed)?;
                self.note().map_err(End::Failed)?;
                bounded(&mut self.stop, until, tools.image_root(image, &digest, stage)).await?
            }
        };
        self.roots.insert(name.to_owned(), root.clone());
        Ok(root)
    }

    fn stage(&self, name: &str) -> Option<Stage> {
        let built_in = || self.pipeline.build.as_ref().and_then(|build| build.image.clone());
        match name {
            "build" => self.pipeline.build.clone(),
            _ => self.pipeline.test.clone().map(|test| Stage { image: test.image.clone().or_else(built_in), ..test }),
        }
    }

    /// Packs what the pipeline names of the workspace.
    async fn package(&mut self) -> Result<StepEnd, End> {
        let run = self.record.order.run.clone();
        let (workspace, path) = (self.tools.places.workspace(&run.pipeline), self.tools.places.archive(&run));
        let asked = self.pipeline.package.clone();
        let folder = workspace.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let file = File::create(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
            let mut out = std::io::BufWriter::new(&file);
            let packed = pack(&workspace, &asked.include, &asked.exclude, &mut out, &PackLimits::default());
            let packed = packed.map_err(|error| crate::chain(&error))?;
            out.flush().and_then(|()| file.sync_all()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(packed)
        });
        let until = self.run_until();
        let packed =
            bounded(
                &mut self.stop,
                until,
                async move { packing.await.unwrap_or_else(|_| Err("the agent is ending".to_owned())) },
            );
        let packed = match packed.await {
            // Where the workspace lies is nobody's business.
            Err(End::Failed(problem)) => {
                return Err(End::Failed(problem.replace(&folder.display().to_string(), "the workspace")));
            }
            packed => packed?,
        };
        let text = format!("{} files, {} bytes, {}", packed.files, packed.bytes, packed.digest);
        self.log.say("package.0", &text, clock::now().wall);
        self.record.packed = Some(ArchiveReport { digest: packed.digest, bytes: packed.bytes });
        Ok(StepEnd::default())
    }

    async fn upload(&mut self) -> Result<StepEnd, End> {
        let Some(archive) = self.record.packed.clone() else { return Err(End::Failed("there is no archive".to_owned())) };
        let run = self.record.order.run.clone();
        let tools = self.tools.clone();
        let (path, report) = (tools.places.archive(&run), &mut self.record.report);
        let waits = |problem: Option<String>| {
            if report.problem != problem {
                report.problem = problem;
                tools.board.tell_build(report);
            }
        };
        let sent = tokio::select! {
            sent = send::archive(&tools.door, &run, &path, &archive, waits) => sent.map_err(End::Failed),
            () = stopped(&mut self.stop) => Ok(()),
        };
        sent?;
        self.check_stop()?;
        self.record.report.archive = Some(archive);
        Ok(StepEnd::default())
    }

    /// Notes how it ended, and gives back what it does not need any more.
    async fn over(&mut self, ended: Result<(), End>) {
        let now = clock::now().wall;
        let (phase, problem) = match ended {
            Ok(()) => (BuildPhase::Done, None),
            Err(End::Skipped) => (BuildPhase::Skipped, None),
            Err(End::Cancelled | End::Gone) => (BuildPhase::Cancelled, None),
            Err(End::Failed(problem)) => (BuildPhase::Failed, Some(problem)),
            Err(End::FailedStep(_)) => (BuildPhase::Failed, self.failed_step()),
        };
        if let Err(End::Failed(problem)) = self.take_caches_back().await {
            tracing::warn!(run = %self.record.order.run, problem, "a cache is lost");
        }
        self.record.enter(phase, now);
        self.record.report.problem = problem;
        if let Err(problem) = self.note() {
            tracing::error!(run = %self.record.order.run, problem, "the end of a run is not noted");
        }
        self.tools.places.forget_images(&self.record.order.run);
        let (workspace, archive) =
            (self.tools.places.workspace(&self.record.order.run.pipeline), self.tools.places.archive(&self.record.order.run));
        // What stays is removed with the next run.
        let _ = tokio::task::spawn_blocking(move || (volumes::delete(&workspace), fs::remove_file(&archive))).await;
    }

    /// The step that failed, in words.
    fn failed_step(&self) -> Option<String> {
        let step = self.record.report.steps.iter().find(|step| step.has_failed())?;
        let how = match (&step.problem, &step.exit) {
            (Some(problem), _) => problem.clone(),
            (None, Some(exit)) => exit.to_string(),
            (None, None) => "failed".to_owned(),
        };
        Some(format!("step {} ({}): {how}", step.name(), step.command))
    }

    /// A step that could not be done at all.
    fn failure(&mut self, index: usize, problem: &str) -> StepEnd {
        let name = self.record.report.steps.get(index).map(coord_shared::wire::StepReport::name).unwrap_or_default();
        self.log.say(&name, problem, clock::now().wall);
        StepEnd { exit: None, problem: Some(problem.to_owned()), last_lines: vec![problem.to_owned()] }
    }

    async fn remove_container(&self, index: usize) {
        let Some(told) = self.record.report.steps.get(index) else { return };
        let container = places::container(&self.record.order.run, &told.name(), self.record.attempt);
        if matches!(told.stage.as_str(), "build" | "test")
            && let Ok(engine) = self.tools.engine()
        {
            self.tools.close_door(&container).await;
            step::remove(engine, &self.tools.places, &container).await;
            self.tools.release(&container).await;
        }
    }

    /// A secret, as long as the coordinator is away not yet.
    async fn secret(&mut self, name: &SecretName) -> Result<String, End> {
        if let Some(value) = self.secrets.get(name) {
            return Ok(value.clone());
        }
        let mut failures = 0;
        let value = loop {
            match self.tools.door.secret(name).await {
                Ok(value) => break value,
                Err(DoorError::Away { problem }) => {
                    failures += 1;
                    self.record.report.problem = Some(format!("waits for secret {name}: {problem}"));
                    self.tell();
                }
                Err(error) => return Err(End::Failed(format!("cannot have secret {name}: {error}"))),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff::POLL.delay_with_jitter(failures, fastrand::f64())) => {}
                () = stopped(&mut self.stop) => self.check_stop()?,
            }
        };
        self.record.report.problem = None;
        self.secrets.insert(name.clone(), value.clone());
        Ok(value)
    }

    fn mask(&mut self) {
        self.log.mask(Masks::new(self.secrets.values().map(String::as_str)));
    }

    fn about(&self) -> About {
        let order = &self.record.order;
        let at = self.record.report.commit.as_ref().map_or(self.record.report.since, |commit| commit.at);
        About { run: order.run.clone(), commit: order.commit.clone(), at }
    }

    /// When the time of the whole run is over.
    fn run_until(&self) -> (Mono, Span) {
        let now = clock::now();
        let began = self.record.began_at().map_or(now.mono, |at| clock::mono_at(at, now));
        (began.after(self.pipeline.timeout.0), self.pipeline.timeout)
    }

    fn check_stop(&self) -> Result<(), End> {
        match *self.stop.borrow() {
            Stop::Go => Ok(()),
            Stop::Cancel => Err(End::Cancelled),
            Stop::Gone => Err(End::Gone),
        }
    }

    fn note_images(&self) -> Result<(), String> {
        self.tools.places.note_images(&self.record.order.run, self.record.images.values()).map_err(|error| crate::chain(&error))
    }

    fn note(&self) -> Result<(), String> {
        self.record.save(&self.tools.places).map_err(|error| crate::chain(&error))
    }

    fn tell(&self) {
        self.tools.board.tell_build(&self.record.report);
    }
}

/// Does `work` until it is done, somebody stops it, or the time of the run is over.
async fn bounded<T>(
    stop: &mut watch::Receiver<Stop>,
    (until, limit): (Mono, Span),
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, End> {
    tokio::select! {
        done = work => done.map_err(End::Failed),
        () = stopped(stop) => Err(if *stop.borrow() == Stop::Gone { End::Gone } else { End::Cancelled }),
        () = tokio::time::sleep_until(clock::timer_at(until)) => {
            Err(End::Failed(format!("the run took longer than {limit}; make it faster, or raise timeout of the pipeline")))
        }
    }
}

/// Waits until nobody asks for the run any more.
async fn gone(stop: &mut watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop == Stop::Gone).await.is_err() {
        std::future::pending().await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, super::BuildError> + Send + 'static) -> Result<T, End> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| End::Failed(crate::chain(&error))),
        // The agent is ending.
        Err(_) => Err(End::Gone),
    }
}
