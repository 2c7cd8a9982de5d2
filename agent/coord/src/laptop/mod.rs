//! The same commands where there is no door: with Docker or Podman, so that one script runs on a laptop and on the fleet.
//!
//! A cache is a container that is never started, `coord-cache-NAME`, with a named volume of the same name at the open path; second
//! containers get it by `--volumes-from`, or the volume where they want another path. Beside the volume, in the container's own root, stands
//! what a cache is: `/.coord-cache/state.json` and the list of its files.
//!
//! Deliberately absent: what an engine cannot do. A folder is published as a copy; puts are not atomic; nothing is deleted in time but by the
//! next command; all containers and caches of the engine's owner are one family.

mod api;
mod caches;
mod containers;
mod list;
mod state;
mod streams;

pub(crate) use caches::Content;
pub(crate) use streams::{Attached, Wanted};

use crate::clock;
use crate::failure::failure;
use crate::output::Output;
use api::{Api, ApiError};
use coord_shared::wire::ErrorBody;
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// Where engines listen, in the order in which they are asked.
const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];
/// The same, below a user's own `XDG_RUNTIME_DIR`.
const USER_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];
/// What of `DOCKER_HOST` is understood.
const UNIX: &str = "unix://";

/// Docker or Podman, in the place of a door.
#[derive(Debug)]
pub(crate) struct Laptop {
    api: Api,
    output: Output,
}

/// What can be said of an engine.
#[derive(Debug, Serialize)]
pub(crate) struct EngineInfo {
    /// `Docker`, `Podman`.
    pub(crate) engine: String,
    /// Its release.
    pub(crate) version: String,
    /// Where it answers.
    pub(crate) socket: PathBuf,
}

impl Laptop {
    /// Finds an engine, and says so. What is over is deleted.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn find(output: Output) -> Result<Laptop, ErrorBody> {
        let api = find().await?;
        output.note(&format!("not under coord-agent; using {} at {}", api.engine, api.socket().display()));
        let laptop = Laptop { api, output };
        laptop.sweep().await?;
        Ok(laptop)
    }

    pub(crate) fn info(&self) -> EngineInfo {
        let (engine, version) = (self.api.engine.clone(), self.api.version.clone());
        EngineInfo { engine, version, socket: self.api.socket().to_owned() }
    }
}

async fn find() -> Result<Api, ErrorBody> {
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        let Some(socket) = host.strip_prefix(UNIX) else {
            let message = format!("DOCKER_HOST is {host}, and only unix:// is spoken here");
            return Err(failure("no_engine", message, Some("name a socket of this machine, or unset DOCKER_HOST")));
        };
        return Ok(Api::open(socket.as_ref()).await?);
    }
    let mut tried = Vec::new();
    for socket in places() {
        match Api::open(&socket).await {
            Ok(api) => return Ok(api),
            Err(error) => tried.push((socket, error)),
        }
    }
    Err(no_engine(&tried))
}

fn places() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let of_user = user.iter().flat_map(|dir| USER_SOCKETS.iter().map(|socket| dir.join(socket)));
    SOCKETS.iter().map(PathBuf::from).chain(of_user).collect()
}

/// A socket that is there and does not answer is worth more words than those that are not there.
fn no_engine(tried: &[(PathBuf, ApiError)]) -> ErrorBody {
    let there = tried.iter().find(|(socket, _)| socket.exists());
    let what = match there {
        Some((_, error)) => error.to_string(),
        None => {
            let sockets: Vec<String> = tried.iter().map(|(socket, _)| socket.display().to_string()).collect();
            format!(
                "there is neither a door nor an engine: none of {}, {}",
                coord_shared::wire::nested::SOCKET,
                sockets.join(", ")
            )
        }
    };
    let hint = "under coord-agent, the document needs the key `nested`; elsewhere, start Docker or `podman system service`, or set DOCKER_HOST";
    failure("no_engine", format!("this is not under coord-agent, and {what}"), Some(hint))
}

/// A point in time as an engine writes it; engines write the year 1 for never.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|at| *at > Timestamp::UNIX_EPOCH)
}

/// A point in time, or now where nobody knows.
fn time_or_now(text: &str) -> Timestamp {
    time(text).unwrap_or_else(clock::now)
}
