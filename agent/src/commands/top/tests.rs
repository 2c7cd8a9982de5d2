//! Rates come from two looks at the same container, and from nothing else.

use super::*;

fn row(instance: &str, container: &str, at_ns: u64, cpu_ns: Option<u64>) -> UsageRow {
    UsageRow {
        instance: instance.parse().expect("an instance"),
        container: container.to_owned(),
        at_ns,
        cpu_ns,
        cpus_milli: Some(500),
        memory_bytes: Some(95 << 20),
        memory_limit_bytes: Some(100 << 20),
        pids: Some(3),
        pids_limit: None,
        read_bytes: 0,
        written_bytes: 4096,
        received_bytes: None,
        sent_bytes: None,
    }
}

#[test]
fn processor_time_is_shared_out_over_the_time_that_passed() {
    let before = [row("a.0", "a.0-r1-1", 0, Some(0)), row("b.0", "b.0-r1-1", 0, Some(5)), row("c.0", "c.0-r1-1", 0, Some(9))];
    let now = [
        row("a.0", "a.0-r1-1", 2_000_000_000, Some(500_000_000)),
        // Another container of the same instance: what the first one used is nothing to it.
        row("b.0", "b.0-r1-2", 2_000_000_000, Some(1_000_000_000)),
        row("c.0", "c.0-r1-1", 2_000_000_000, None),
        row("d.0", "d.0-r1-1", 2_000_000_000, Some(4_000_000_000)),
    ];
    let found: Vec<_> =
        rates(&before, &now).into_iter().map(|rate| (rate.usage.instance.to_string(), rate.cpu_permille)).collect();
    let of = |name: &str, permille| (name.to_owned(), permille);
    assert_eq!(found, [of("a.0", Some(250)), of("b.0", None), of("c.0", None), of("d.0", None)]);
    // Clocks that stand still, and counters that go backwards, are no rates.
    assert_eq!(rates(&now[..1], &now[..1])[0].cpu_permille, None);
    assert_eq!(rates(&now[..1], &before[..1])[0].cpu_permille, None);
}

#[test]
fn a_table_says_what_is_not_known() {
    let now = [row("a.0", "a.0-r1-1", 2_000_000_000, Some(2_460_000_000))];
    let before = [row("a.0", "a.0-r1-1", 0, Some(0))];
    let text = table(&rates(&before, &now)).render(None, coord_shared::text::Palette { on: false });
    let cells: Vec<&str> =
        text.lines().nth(1).expect("a row").split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["a.0", "123.0 %", "95.0 MiB", "100 MiB", "3", "0 B", "4.00 KiB", "-", "-"]);
}
