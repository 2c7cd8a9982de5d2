//! From two looks to rates.

use coord_agent::metrics::UsageRow;
use serde::Serialize;

/// What a container uses, and how much processor time that was a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    #[serde(flatten)]
    pub(super) usage: UsageRow,
    /// Thousandths of one processor, between the two looks; absent for a container that is new.
    pub(super) cpu_permille: Option<u64>,
}

/// The containers of the second look; those that use the most first.
pub(super) fn rates(before: &[UsageRow], now: &[UsageRow]) -> Vec<Rates> {
    let mut rates: Vec<Rates> = now.iter().map(|row| Rates { usage: row.clone(), cpu_permille: cpu(before, row) }).collect();
    rates.sort_by(|a, b| b.cpu_permille.cmp(&a.cpu_permille).then_with(|| a.usage.instance.cmp(&b.usage.instance)));
    rates
}

fn cpu(before: &[UsageRow], now: &UsageRow) -> Option<u64> {
    let before = before.iter().find(|row| row.container == now.container)?;
    let used_ns = now.cpu_ns?.checked_sub(before.cpu_ns?)?;
    let passed_ns = now.at_ns.checked_sub(before.at_ns)?;
    used_ns.saturating_mul(1000).checked_div(passed_ns)
}
