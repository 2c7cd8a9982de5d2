//! How much may still be put: bytes and paths, counted while they come, by several puts at once.

use crate::CacheError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of files, and paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Of files, as they are read: holes count.
    pub bytes: u64,
    /// Files, folders, links.
    pub entries: u64,
}

impl Amount {
    /// Both together.
    pub fn plus(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.saturating_add(other.bytes), entries: self.entries.saturating_add(other.entries) }
    }

    /// What is left without the other.
    pub fn minus(self, other: Amount) -> Amount {
        Amount { bytes: self.bytes.saturating_sub(other.bytes), entries: self.entries.saturating_sub(other.entries) }
    }
}

/// An upper limit, and how much of it is used.
#[derive(Debug)]
pub struct Quota {
    bytes: Option<(u64, String)>,
    entries: Option<(u64, String)>,
    used: Mutex<Amount>,
}

impl Quota {
    /// Limits with the words that name them, as in "the 512MiB of `nested.caches`".
    pub fn new(bytes: Option<(u64, String)>, entries: Option<(u64, String)>) -> Quota {
        Quota { bytes, entries, used: Mutex::default() }
    }

    /// What is used, with what is on its way.
    pub fn used(&self) -> Amount {
        *self.lock()
    }

    /// Something that used `before` now uses `after`. That may be more than the limit: what is there, is there.
    pub fn settle(&self, before: Amount, after: Amount) {
        let mut used = self.lock();
        *used = used.minus(before).plus(after);
    }

    /// The limit that is passed, in words; none as long as none is.
    pub fn is_over(&self) -> Option<&str> {
        let used = self.used();
        let over = |limit: &Option<(u64, String)>, used: u64| limit.as_ref().is_some_and(|(limit, _)| used > *limit);
        let limit = if over(&self.bytes, used.bytes) {
            &self.bytes
        } else if over(&self.entries, used.entries) {
            &self.entries
        } else {
            return None;
        };
        limit.as_ref().map(|(_, words)| words.as_str())
    }

    fn take(&self, amount: Amount) -> Result<(), CacheError> {
        let mut used = self.lock();
        let then = used.plus(amount);
        let over = |limit: &Option<(u64, String)>, now: u64, then: u64| match limit {
            Some((limit, words)) if then > *limit && then > now => Err(CacheError::OverQuota { limit: words.clone() }),
            Some(_) | None => Ok(()),
        };
        over(&self.bytes, used.bytes, then.bytes)?;
        over(&self.entries, used.entries, then.entries)?;
        *used = then;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Amount> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one put takes of its quotas; given back when it is dropped.
#[derive(Debug)]
pub struct Budget {
    quotas: Vec<Arc<Quota>>,
    taken: Amount,
}

impl Budget {
    /// Nothing is taken yet.
    pub fn new(quotas: Vec<Arc<Quota>>) -> Budget {
        Budget { quotas, taken: Amount::default() }
    }

    /// Takes so much of each.
    ///
    /// # Errors
    /// [`CacheError::OverQuota`] with the first that has not so much left; nothing is taken then.
    pub fn take(&mut self, amount: Amount) -> Result<(), CacheError> {
        for (taken, quota) in self.quotas.iter().enumerate() {
            if let Err(error) = quota.take(amount) {
                self.quotas[..taken].iter().for_each(|quota| quota.settle(amount, Amount::default()));
                return Err(error);
            }
        }
        self.taken = self.taken.plus(amount);
        Ok(())
    }

    /// Gives so much of it back.
    pub(crate) fn give(&mut self, amount: Amount) {
        self.quotas.iter().for_each(|quota| quota.settle(amount, Amount::default()));
        self.taken = self.taken.minus(amount);
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.give(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(bytes: u64) -> Arc<Quota> {
        Arc::new(Quota::new(Some((bytes, format!("{bytes} bytes"))), Some((3, "3 paths".to_owned()))))
    }

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        let quota = quota(10);
        let mut budget = Budget::new(vec![Arc::clone(&quota)]);
        assert!(budget.take(Amount { bytes: 10, entries: 3 }).is_ok());
        assert!(
            budget.take(Amount { bytes: 1, entries: 0 }).is_err_and(|error| error.to_string() == "this is more than 10 bytes")
        );
        assert!(
            budget.take(Amount { bytes: 0, entries: 1 }).is_err_and(|error| error.to_string() == "this is more than 3 paths")
        );
        drop(budget);
        assert_eq!(quota.used(), Amount::default());
    }

    #[test]
    fn two_at_once_share_what_is_left() {
        let (all, own) = (quota(10), quota(8));
        let mut one = Budget::new(vec![Arc::clone(&all), Arc::clone(&own)]);
        let mut other = Budget::new(vec![Arc::clone(&all)]);
        assert!(other.take(Amount { bytes: 5, entries: 1 }).is_ok());
        assert!(one.take(Amount { bytes: 6, entries: 1 }).is_err() && own.used() == Amount::default());
        assert!(one.take(Amount { bytes: 5, entries: 1 }).is_ok());
        assert!(other.take(Amount { bytes: 1, entries: 1 }).is_err());
        drop(one);
        assert!(other.take(Amount { bytes: 5, entries: 1 }).is_ok());
    }

    #[test]
    fn nothing_left_still_lets_nothing_in() {
        let quota = quota(10);
        quota.settle(Amount::default(), Amount { bytes: 50, entries: 1 });
        assert_eq!(quota.is_over(), Some("10 bytes"));
        let mut budget = Budget::new(vec![Arc::clone(&quota)]);
        assert!(budget.take(Amount { bytes: 0, entries: 1 }).is_ok());
        assert!(budget.take(Amount { bytes: 1, entries: 0 }).is_err());
        quota.settle(Amount { bytes: 50, entries: 1 }, Amount { bytes: 10, entries: 1 });
        assert_eq!(quota.is_over(), None);
    }
}
