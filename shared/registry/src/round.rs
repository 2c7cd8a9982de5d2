//! One round through the places that may serve something: each is asked once, and one that fails is passed over for the next.

use crate::route::Place;
use crate::{Registry, RegistryError};
use std::collections::VecDeque;

/// Which of an image's places is asked first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Mirrors,
    Location,
}

/// Those still to be asked, and what the others said.
pub(crate) struct Round {
    registry: Registry,
    first: First,
    untried: VecDeque<Place>,
    has_others: bool,
    /// The location's error, else the last: the location is the one that has to know.
    verdict: Option<(IsLocations, RegistryError)>,
}

type IsLocations = bool;

impl Round {
    pub(crate) fn new(registry: Registry, first: First, places: Vec<Place>) -> Round {
        let has_others = places.len() > 1;
        Round { registry, first, untried: places.into(), has_others, verdict: None }
    }

    /// Whom to ask next.
    ///
    /// # Errors
    /// The verdict, when nobody is left.
    pub(crate) fn next(&mut self) -> Result<Place, RegistryError> {
        let nobody = || RegistryError::Config { problem: "there is no place to ask".to_owned() };
        self.untried.pop_front().ok_or_else(|| self.verdict.take().map_or_else(nobody, |(_, error)| error))
    }

    /// Notes that a place has failed.
    pub(crate) fn failed(&mut self, place: &Place, error: RegistryError) {
        // What a tag does not stand for at the location, no old copy may say otherwise.
        if self.first == First::Location && !place.is_mirror && !error.is_retryable() {
            self.untried.clear();
        } else if self.has_others {
            // The only place there is cannot be passed over.
            self.registry.pass_over(place, &error);
        }
        if self.verdict.as_ref().is_none_or(|(is_locations, _)| !is_locations) {
            self.verdict = Some((!place.is_mirror, error));
        }
    }
}
