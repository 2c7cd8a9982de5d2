//! What doors work with, in one place.

use super::Hands;
use super::door::Door;
use super::image::Resolved;
use super::places::Places;
use super::refusal::refuse;
use super::report::Reporter;
use crate::engine::Engine;
use coord_runtime::Isolation;
use coord_shared::wire::ErrorBody;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module's description.
pub(super) struct Tools {
    pub(super) hands: Hands,
    pub(super) places: Places,
    pub(super) resolved: Resolved,
    pub(super) reporter: Reporter,
    engine: Mutex<Option<Engine>>,
    doors: Mutex<BTreeMap<String, Arc<Door>>>,
}

impl Tools {
    pub(super) fn new(hands: Hands, reporter: Reporter) -> Self {
        let places = Places::new(&hands.state_dir, &hands.run_dir);
        Self { hands, places, resolved: Resolved::default(), reporter, engine: Mutex::default(), doors: Mutex::default() }
    }

    /// What runs second containers; opened by whoever asks first.
    pub(super) fn engine(&self) -> Result<Engine, ErrorBody> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.as_ref() {
            return Ok(engine.clone());
        }
        let (places, hands) = (&self.places, &self.hands);
        // They have their parents' users.
        let isolation = Isolation { user_count: 0, ..hands.isolation };
        let opened = Engine::open(&places.state, &places.run, &hands.helpers_dir, isolation);
        let opened = opened.map_err(|error| refuse("agent_failed", crate::chain(&error)))?;
        Ok(engine.insert(opened).clone())
    }

    pub(super) fn doors(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Door>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn door(&self, parent: &str) -> Option<Arc<Door>> {
        self.doors().get(parent).cloned()
    }
}
