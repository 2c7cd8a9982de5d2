//! The bodies that travel between coordinator, agents and coordctl, version 1.
//!
//! Tolerant between machines: readers skip fields they do not know, so that the two ends may be of different ages; a field is
//! only ever added. What people write (documents) is strict instead, and travels here as text.

mod api;
mod build;
mod centre;
mod images;
pub mod nested;
mod pipelines;
mod registry;
mod report;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod volumes;

pub use api::*;
pub use build::{
    ArchiveReport, BuildOrder, BuildPhase, BuildReport, CommitView, Head, HeadReport, LAST_LINES_MAX, RunLogLine, RunLogsRequest,
    SourceWatch, StepReport,
};
pub use centre::{CollectedView, RemovedImages};
pub use images::DeploymentView;
pub use pipelines::*;
pub use registry::RegistryLogin;
pub use report::{
    BuilderReport, Exit, FullReport, HealthReport, HealthStatus, HostFacts, InstanceReport, InstanceState, PrefetchReport,
    PrefetchState, REPORT_MAX_BYTES, Report, ReportAnswer,
};
pub use state::{DesiredInstance, HOST_STATE_MAX_BYTES, HostState, LogsRequest, Prefetch, Session, StateError, VolumesRequest};
pub use stream::{
    ExecRequest, FRAME_DATA_MAX_BYTES, FRAME_MAX_BYTES, Frame, FrameBuffer, FrameError, ReceiveWindow, STREAM_WINDOW_BYTES,
    SendWindow,
};
pub use tokens::{NewToken, NewTokenAnswer, TokenRights, TokenView, TokensView};
pub use volumes::{VolumeView, VolumesView};

/// The version of every body here. A reader refuses a higher one with a request to upgrade.
pub const WIRE_VERSION: u32 = 1;
