//! Fetching ahead: images for which the host's turn has yet to come, one at a time, while nobody here waits for another.

use super::{Action, Image, Observed, Plan};
use crate::decide::{Now, backoff};
use crate::names::PinnedImage;
use crate::wire::{PrefetchReport, PrefetchState};

/// Adds at most one pull to a plan that has none, unless one is under way: its end is an event, after which this is asked again.
pub(super) fn fetch(ahead: &[PinnedImage], observed: &Observed, now: Now, plan: &mut Plan) {
    let is_asked = plan.actions.iter().any(|action| matches!(action, Action::Pull(_)));
    if is_asked || observed.images.values().any(|image| matches!(image, Image::Pulling { .. })) {
        return;
    }
    for image in ahead {
        match observed.images.get(&image.digest) {
            Some(Image::Present | Image::Pulling { .. }) => {}
            Some(Image::Failed { attempts, at, .. }) => {
                let due = at.after(backoff::PULL.delay(*attempts));
                if now.mono >= due {
                    return plan.actions.push(Action::Pull(image.clone()));
                }
                plan.wake(due);
            }
            None => return plan.actions.push(Action::Pull(image.clone())),
        }
    }
}

/// How far each of them is.
pub fn reports(ahead: &[PinnedImage], observed: &Observed, now: Now) -> Vec<PrefetchReport> {
    let state = |image: &PinnedImage| match observed.images.get(&image.digest) {
        None => PrefetchState::Waiting,
        Some(Image::Pulling { done_bytes, total_bytes, .. }) => {
            PrefetchState::Pulling { done_bytes: *done_bytes, total_bytes: *total_bytes }
        }
        Some(Image::Present) => PrefetchState::Ready,
        Some(Image::Failed { error, attempts, at }) => {
            let retry_at = now.wall_at(at.after(backoff::PULL.delay(*attempts)));
            PrefetchState::Failed { error: error.clone(), attempts: *attempts, retry_at }
        }
    };
    ahead.iter().map(|image| PrefetchReport { digest: image.digest.clone(), state: state(image) }).collect()
}
