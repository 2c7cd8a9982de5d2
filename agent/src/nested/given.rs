//! Standard files that were handed over for a second container that is about to be asked for. They are kept for a moment, and few of them.

use crate::clock;
use coord_shared::decide::Mono;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whoever hands files over asks for the container at once.
const KEPT_MAX: Duration = Duration::from_secs(60);
/// At a time, for one door.
const SETS_MAX: usize = 32;
/// A token's length: chosen at random, so that nobody meets another's.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// Standard input, output and error.
pub(super) type Files = [OwnedFd; 3];

/// See the module's description.
#[derive(Default)]
pub(super) struct Given(Mutex<BTreeMap<String, (Files, Mono)>>);

impl Given {
    /// Keeps them. False when there are too many already, or the token is none, or is taken.
    pub(super) fn keep(&self, token: &str, files: Files) -> bool {
        let now = clock::now().mono;
        let mut kept = self.kept();
        let old: Vec<String> =
            kept.iter().filter(|(_, (_, since))| now.since(*since) > KEPT_MAX).map(|(token, _)| token.clone()).collect();
        let old: Vec<_> = old.iter().filter_map(|token| kept.remove(token)).collect();
        let is_fine = is_token(token) && kept.len() < SETS_MAX && !kept.contains_key(token);
        let refused = if is_fine { kept.insert(token.to_owned(), (files, now)) } else { Some((files, now)) };
        drop(kept);
        close(old.into_iter().chain(refused).map(|(files, _)| files).collect());
        is_fine
    }

    /// Takes them out.
    pub(super) fn take(&self, token: &str) -> Option<Files> {
        self.kept().remove(token).map(|(files, _)| files)
    }

    /// Lets all go.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.kept());
        close(all.into_values().map(|(files, _)| files).collect());
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, (Files, Mono)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_token(token: &str) -> bool {
    TOKEN_CHARS.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Elsewhere: what they are is their owner's choice, and some files take their time to be closed.
fn close(files: Vec<Files>) {
    if !files.is_empty() {
        drop(tokio::task::spawn_blocking(move || drop(files)));
    }
}
