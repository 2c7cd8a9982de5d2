//! A pipeline that cannot be invalid.

use crate::document::{Nested, Network, Resources};
use crate::names::{HostSelector, ImageReference, Repository, SecretName, WorkloadName};
use crate::quantity::Span;
use crate::recipe::Recipe;
use serde::Serialize;
use std::collections::BTreeMap;

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    /// Where the code comes from.
    pub source: Source,
    /// Which hosts build it; those with the label `builder=true` where the file says nothing. They must allow it, too (`[builder]` in agent.toml).
    pub hosts: Vec<HostSelector>,
    /// When it runs by itself.
    pub trigger: Trigger,
    /// How long a whole run may take on its builder.
    pub timeout: Span,
    /// Compiles. What it leaves in the workspace is there for the tests.
    pub build: Option<Stage>,
    /// Tests. Nothing that fails here goes any further.
    pub test: Option<Stage>,
    /// What of the workspace goes into the archive.
    pub package: Package,
    /// What image the archive becomes.
    pub image: PipelineImage,
    /// What is published with the image; nothing where absent.
    pub deploy: Option<Deploy>,
    /// Who is told of runs that failed.
    pub on_failure: Vec<NotifyTarget>,
    /// Who is told of runs that succeeded.
    pub on_success: Vec<NotifyTarget>,
    /// Ended runs that are kept, with their logs.
    pub keep_runs: u32,
}

/// Where code comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The repository.
    pub kind: SourceKind,
    /// Only commits that change one of these paths (patterns as in [`Include`]) are built; all where empty.
    pub paths: Vec<String>,
    /// The secret that opens it: a token or password for HTTP (`USER:PASSWORD` or a password alone), a private key for ssh.
    pub credentials: Option<SecretName>,
}

/// Kinds of repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Git.
    Git(Git),
    /// Subversion: the URL of the folder that is built, such as `https://svn.lan/shop/trunk`.
    Svn {
        /// The folder.
        url: String,
    },
}

/// A git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Git {
    /// `https://`, `http://`, `ssh://`, `git://`, `file://`, or `user@host:path`. Nothing that runs a program (`ext::`), no option (`-`).
    pub url: String,
    /// What of it is built.
    pub reference: Reference,
    /// Whether submodules are fetched, too; their URLs obey the same rules.
    pub submodules: bool,
}

/// What of a git repository is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The newest commit of a branch; the repository's own default branch (HEAD) where absent.
    Branch(Option<String>),
    /// The newest tag that matches, by version order (`v1.10.0` after `v1.9.0`).
    Tags(String),
}

/// When a pipeline runs by itself. `coordctl pipeline run` always does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// How often a builder looks whether there is a new commit; never where absent (`poll = "never"`).
    pub poll: Option<Span>,
    /// Whose word is taken that there is one.
    pub webhook: Option<Webhook>,
    /// Runs at these times although nothing is new: five fields as crontab(5) has them, in UTC.
    pub schedule: Option<String>,
}

/// A webhook: `POST /v1/pipelines/NAME/webhook`. It only causes a look at the source: what a payload claims is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// What signs payloads (GitHub, Gitea, Forgejo), or is sent along (GitLab, plain).
    pub secret: SecretName,
}

/// Steps in one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// What the steps run in. Absent in `test`: what built. Absent in `build`: the builder host itself, if its policy allows that.
    pub image: Option<ImageReference>,
    /// Each runs by `/bin/sh -e -c` in the workspace; the first that fails ends the run.
    pub steps: Vec<String>,
    /// Folders that are kept between runs: absolute ones of the container, or relative ones of the workspace.
    pub cache: Vec<String>,
    /// Set for every step, beside `CI=true`, `COORD_PIPELINE`, `COORD_RUN`, `COORD_COMMIT`, `SOURCE_DATE_EPOCH`.
    pub environment: BTreeMap<String, String>,
    /// Variables whose values are secrets; they are masked in the log.
    pub secrets: BTreeMap<String, SecretName>,
    /// Whom the steps run as; the image's user where absent.
    pub user: Option<String>,
    /// What network the steps see; a bridge where the file says nothing.
    pub network: Network,
    /// Upper limits; a builder's own are never exceeded.
    pub resources: Resources,
    /// What each step may start within itself; nothing where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<Nested>,
    /// How long each step may take.
    pub timeout: Span,
}

/// What goes into the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// At least one.
    pub include: Vec<Include>,
    /// Patterns of what is left out again.
    pub exclude: Vec<String>,
}

/// Files of the workspace, and where they go in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Include {
    /// A path or pattern relative to the workspace: `*` and `?` within a component, `**` over several. Nothing with `..`.
    pub path: String,
    /// Where its files go: the new name of a path without wildcards, or, with a slash at its end or for a pattern, their folder; `.` is the
    /// archive's top. Absent: a path without wildcards keeps its last component (`target/release/shop` -> `shop`, `assets` -> `assets/...`),
    /// `DIR/**` is `DIR`, and another pattern keeps what follows its last folder without wildcards (`target/release/*.so` -> `x.so`).
    pub to: Option<String>,
}

/// What image the archive becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineImage {
    /// Where in the image centre it goes.
    pub repository: Repository,
    /// Tags that move to it, beside one named after the commit; `latest` where the file says nothing.
    pub tags: Vec<String>,
    /// How it is made.
    pub recipe: Recipe,
}

/// What is published with the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deploy {
    /// The document's path in the repository; its `image` is replaced by the new one, by digest.
    pub document: String,
    /// The workload's name; the stem of the document's file where the pipeline says nothing.
    pub workload: WorkloadName,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifyTarget {
    /// `webhook:URL`: one POST with a JSON body.
    Webhook(String),
    /// `email:ADDRESS`: one message by the coordinator's `[smtp]`.
    Email(String),
}
