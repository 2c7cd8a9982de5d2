//! Everything that can happen to the agent: a closed set. The loop takes one at a time.

use crate::images::Uses;
use coord_image::Image;
use coord_runtime::{Running, RuntimeEvent};
use coord_shared::decide::health::Health;
use coord_shared::names::{ContainerId, Digest, Labels};
use coord_shared::wire::HostState;
use tokio::sync::oneshot;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// The coordinator, or the standalone source, says what this host should run.
    State(Box<HostState>),
    /// The coordinator answered, and has nothing new.
    CoordinatorAnswers,
    /// It did not answer, or not in a way that can be used; the error with its cure.
    CoordinatorProblem(String),
    /// A pull ended.
    Pulled {
        /// Which image.
        digest: Digest,
        /// The image, or the error with its cure.
        result: Result<Box<Image>, String>,
    },
    /// A start ended.
    Started {
        /// Which container.
        container: ContainerId,
        /// Its process, or the error with its cure.
        result: Result<Running, String>,
    },
    /// A container's `post_start` hooks ended.
    Hooked {
        /// Which container.
        container: ContainerId,
        /// Nothing, or why the first of them failed.
        result: Result<(), String>,
    },
    /// A check changed what is known of a container's health.
    Health {
        /// Which container.
        container: ContainerId,
        /// What is known now.
        health: Health,
    },
    /// A removal ended.
    Removed {
        /// Which container.
        container: ContainerId,
        /// Nothing, or the error with its cure.
        result: Result<(), String>,
    },
    /// Something happened to a container by itself.
    Runtime(RuntimeEvent),
    /// The containers' network is not as it should be, in words with the cure; or it is again.
    NetworkProblem(Option<String>),
    /// The wish for the network of this number is fulfilled, in the kernel too (see [`crate::state::Agent::wished`]).
    NetworkIsAsWished(u64),
    /// It was looked how many connections a container that has given way still has.
    Connections {
        /// Which container.
        container: ContainerId,
        /// So many; `None` where that cannot be told.
        open: Option<u32>,
    },
    /// The labels in `agent.toml` changed.
    Labels(Labels),
    /// There is news of what is built here.
    Builds,
    /// There is news of what runs within containers.
    Nested,
    /// The machine was looked at.
    Facts(Box<coord_shared::wire::HostFacts>),
    /// Somebody asks which images are needed, and waits for the answer.
    AskedForUses(oneshot::Sender<Uses>),
    /// Images are gone from the store.
    ImagesRemoved(Vec<Digest>),
    /// The time came that the last plan asked to be woken at.
    Timer,
    /// The agent is asked to end; containers stay.
    Shutdown,
}
