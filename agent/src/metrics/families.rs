//! The families that are ours, and those of the machine.

use super::sample::Sample;
use super::text::Kind::{Counter, Gauge};
use super::text::Number::Count;
use super::text::{Text, label};
use coord_shared::names::HostName;
use coord_shared::wire::{FullReport, HealthStatus};

const HEALTHS: [(HealthStatus, &str); 3] =
    [(HealthStatus::Starting, "starting"), (HealthStatus::Healthy, "healthy"), (HealthStatus::Unhealthy, "unhealthy")];

pub(super) fn write(text: &mut Text, samples: &[Sample], host: Option<&FullReport>, name: &HostName) {
    text.family(
        ("coord_instance_ready", Gauge, "Whether the instance does its work, or has done it."),
        samples.iter().map(|s| (&s.name, Count(s.report.ready.into()))),
    );
    text.family(
        ("coord_instance_restarts_total", Counter, "Starts after it ended by itself, in this revision."),
        samples.iter().map(|s| (&s.name, Count(s.report.restarts.into()))),
    );
    let health = |s: &Sample| {
        let status = s.report.health.as_ref().map(|health| health.status);
        let name = s.name.clone();
        let sample =
            move |(one, word): (HealthStatus, &str)| (format!("status=\"{word}\",{name}"), Count((status == Some(one)).into()));
        HEALTHS.into_iter().filter(move |_| status.is_some()).map(sample).collect::<Vec<_>>()
    };
    text.family(
        ("coord_instance_health", Gauge, "What its health check says: 1 for that status, 0 for the others."),
        samples.iter().flat_map(health),
    );
    let about = format!("{},{}", label("host", name.as_str()), label("version", env!("CARGO_PKG_VERSION")));
    text.family(("coord_agent_info", Gauge, "The agent that tells this."), [(about, Count(1))]);
    if let Some(facts) = host.map(|full| &full.facts) {
        text.family(("machine_cpu_cores", Gauge, "Logical processors."), [("", Count(facts.cpus.into()))]);
        text.family(("machine_memory_bytes", Gauge, "Memory of the machine."), [("", Count(facts.memory_total_bytes))]);
    }
}
