//! Through whom a command reaches the images: the store itself where no agent runs, else the agent's control socket. Both give the
//! same.

use super::failure;
use coord_agent::config::Config;
use coord_agent::control::{Client, ImageAsked, PruneAsked, UnmountAsked, VerifyAsked, ViewAsked, encode_name};
use coord_agent::images::{
    self, ImageDetails, ImageRow, Images, ImagesError, Pruned, PullProgress, Pulled, ReadyImage, Uses, Verified, View,
};
use coord_image::StoreError;
use coord_shared::wire::ErrorBody;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a store that is taken is tried again, and how long between: an agent that starts holds it before it answers, and other
/// commands are mostly quick.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// See the file's description.
pub(super) enum Access<'a> {
    Store { images: Images, config: &'a Config },
    Agent(Client),
}

type Result<T> = std::result::Result<T, ErrorBody>;

impl<'a> Access<'a> {
    /// Finds out which.
    pub(super) async fn open(config: &'a Config) -> Result<Access<'a>> {
        let mut tries = 0;
        loop {
            let in_use = match Images::open(config) {
                Ok(images) => return Ok(Access::Store { images, config }),
                Err(error @ ImagesError::Store(StoreError::InUse { .. })) => error,
                Err(error) => return Err(error.into()),
            };
            let client = Client::new(&config.run_dir);
            match client.info().await {
                Ok(info) if is_same(&info.state_dir, &config.state_dir) => return Ok(Access::Agent(client)),
                Ok(_) => return Err(ErrorBody::from(in_use)),
                Err(error) if error.code != "unreachable" => return Err(error),
                Err(_) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let hint = Some("another coord-agent command may be at work there; wait for it to end".to_owned());
                    let message = format!("{}; and {}", ErrorBody::from(in_use).message, error.message);
                    return Err(ErrorBody { hint, ..failure("store_in_use", message) });
                }
            }
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<ImageRow>> {
        match self {
            Access::Store { images, config } => Ok(images.list(&uses(config)?).await?),
            Access::Agent(client) => client.get("/v1/images").await,
        }
    }

    pub(super) async fn inspect(&self, image: &str) -> Result<ImageDetails> {
        match self {
            Access::Store { images, config } => Ok(images.inspect(image, &uses(config)?).await?),
            Access::Agent(client) => client.get(&format!("/v1/images/{}", encode_name(image))).await,
        }
    }

    pub(super) async fn pull(&self, image: String, on_progress: impl FnMut(PullProgress)) -> Result<Pulled> {
        match self {
            Access::Store { images, .. } => Ok(images.pull(&image, on_progress).await?),
            Access::Agent(client) => client.pull(&ImageAsked { image }, on_progress).await,
        }
    }

    pub(super) async fn ready(&self, image: String) -> Result<ReadyImage> {
        match self {
            Access::Store { images, .. } => Ok(images.ready(&image).await?),
            Access::Agent(client) => client.post("/v1/images/ready", &ImageAsked { image }).await,
        }
    }

    pub(super) async fn mount(&self, image: String, dir: PathBuf) -> Result<View> {
        match self {
            Access::Store { images, .. } => Ok(images.mount(&image, &dir).await?),
            Access::Agent(client) => client.post("/v1/images/mount", &ViewAsked { image, dir }).await,
        }
    }

    pub(super) async fn unmount(&self, dir: PathBuf) -> Result<View> {
        match self {
            Access::Store { images, .. } => Ok(images.unmount(&dir).await?),
            Access::Agent(client) => client.post("/v1/images/unmount", &UnmountAsked { dir }).await,
        }
    }

    pub(super) async fn verify(&self, image: Option<String>, repair: bool) -> Result<Verified> {
        match self {
            Access::Store { images, .. } => Ok(images.verify(image.as_deref(), repair).await?),
            Access::Agent(client) => client.post("/v1/images/verify", &VerifyAsked { image, repair }).await,
        }
    }

    pub(super) async fn prune(&self, all: bool) -> Result<Pruned> {
        match self {
            Access::Store { images, config } => Ok(images.prune(&uses(config)?, config.images.policy(), all).await?),
            Access::Agent(client) => client.post("/v1/images/prune", &PruneAsked { all }).await,
        }
    }
}

fn uses(config: &Config) -> Result<Uses> {
    Ok(images::on_disk(config)?)
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
