//! What is kept beside each container, so that an agent that starts knows what it finds: made from document and image at the start,
//! and made anew when a later revision keeps the container and says other things about it.

use coord_image::Image;
use coord_shared::decide::health::Check;
use coord_shared::decide::planner::Spec;
use coord_shared::decide::restart;
use coord_shared::document::{Healthcheck, Hook, PortMapping, Probe};
use coord_shared::names::Digest;
use coord_shared::quantity::{ByteSize, Signal, Span};
use serde::{Deserialize, Serialize};

/// What the runtime keeps for us beside each container. An agent of another release may have written it: what it did not know is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerMeta {
    /// [`coord_shared::decide::planner::Spec::fingerprint`].
    pub fingerprint: Digest,
    /// The image's digest.
    pub image: Digest,
    /// The grace period of a stop.
    pub grace: Span,
    /// The signal that asks it to end.
    pub stop_signal: Signal,
    /// How it is asked whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Run once it has started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// Run before it is asked to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
    /// How long it must do well to count as stable.
    #[serde(default = "window_default")]
    pub window: Span,
    /// Its limit of memory, for the words on its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// The ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// What its document takes from the default isolation, a few words each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loosened: Vec<String>,
}

fn window_default() -> Span {
    restart::WINDOW_DEFAULT
}

impl ContainerMeta {
    /// Of a container made of these.
    pub fn new(spec: &Spec, image: &Image) -> Self {
        let document = &spec.document;
        Self {
            fingerprint: spec.fingerprint.clone(),
            image: spec.image.digest.clone(),
            grace: document.stop_grace_period,
            stop_signal: document.container.stop_signal.or_else(|| image_stop_signal(image)).unwrap_or(Signal::TERM),
            check: Check::merge(document.healthcheck.as_ref(), image.healthcheck.as_ref().map(image_check).as_ref()),
            post_start: document.post_start.clone(),
            pre_stop: document.pre_stop.clone(),
            window: restart::window(&document.restart_policy),
            memory_limit: document.container.resources.memory,
            ports: document.container.ports.clone(),
            loosened: document.loosened(),
        }
    }
}

/// The signal that the image wants to be stopped with.
fn image_stop_signal(image: &Image) -> Option<Signal> {
    image.config.config().as_ref()?.stop_signal().as_ref()?.parse().ok()
}

/// The image's health check, in a document's words.
fn image_check(image: &coord_image::Healthcheck) -> Healthcheck {
    Healthcheck {
        disable: false,
        probe: Some(Probe::Exec(image.command.clone())),
        interval: image.interval.map(Span),
        timeout: image.timeout.map(Span),
        start_period: image.start_period.map(Span),
        start_interval: image.start_interval.map(Span),
        retries: image.retries,
    }
}
