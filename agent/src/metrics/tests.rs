//! The text is what Prometheus reads, by cAdvisor's names, and tells of nobody who is gone.

use super::network::{Counters, Interface, parse};
use super::text::label;
use super::*;
use coord_runtime::{CpuUsage, IoUsage, MemoryUsage, PidsUsage, Pressure, Pressures};
use coord_shared::names::Generation;
use coord_shared::wire::FullReport;
use std::collections::{BTreeMap, BTreeSet};

/// The families of cAdvisor that are told here: its docs/storage/prometheus.md, and metrics/prometheus.go for the newer ones.
const CADVISOR: &str = "container_blkio_device_usage_total container_cpu_cfs_periods_total \
    container_cpu_cfs_throttled_periods_total container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total \
    container_cpu_usage_seconds_total container_cpu_user_seconds_total container_fs_reads_bytes_total container_fs_reads_total \
    container_fs_writes_bytes_total container_fs_writes_total container_last_seen container_memory_cache \
    container_memory_failcnt container_memory_failures_total container_memory_mapped_file container_memory_max_usage_bytes \
    container_memory_rss container_memory_swap container_memory_usage_bytes container_memory_working_set_bytes \
    container_oom_events_total container_pressure_cpu_stalled_seconds_total container_pressure_cpu_waiting_seconds_total \
    container_pressure_io_stalled_seconds_total container_pressure_io_waiting_seconds_total \
    container_pressure_memory_stalled_seconds_total container_pressure_memory_waiting_seconds_total container_processes \
    container_spec_cpu_period container_spec_cpu_quota container_spec_memory_limit_bytes \
    container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes container_start_time_seconds \
    container_threads container_threads_max machine_cpu_cores machine_memory_bytes";

/// Everything that a kernel can tell.
struct Everything;

impl Figures for Everything {
    fn usage(&self, id: &str) -> Option<Usage> {
        let pressure = Some(Pressure { some_us: 1_500_000, full_us: 7 });
        (id != "gone.0-r1-1").then(|| Usage {
            cpu: CpuUsage {
                total_ns: Some(1_500_000_001),
                user_ns: Some(1),
                system_ns: Some(2),
                periods: Some(3),
                throttled_periods: Some(4),
                throttled_ns: Some(5),
            },
            memory: MemoryUsage {
                usage: Some(u64::MAX),
                peak: Some(2),
                limit: None,
                working_set: Some(3),
                cache: Some(4),
                rss: Some(5),
                mapped_file: Some(6),
                swap: Some(7),
                failcnt: Some(8),
                oom_kills: Some(9),
                page_faults: Some(10),
                major_page_faults: Some(11),
            },
            pids: PidsUsage { processes: Some(2), current: Some(5), limit: Some(2048), refused: None },
            io: vec![IoUsage { device: (8, 0), read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 }],
            pressure: Pressures { cpu: pressure, memory: pressure, io: pressure },
        })
    }
}

/// Nothing at all.
struct Nothing;

impl Figures for Nothing {
    fn usage(&self, _id: &str) -> Option<Usage> {
        Some(Usage::default())
    }
}

const DOCUMENT: &str = "image = 'r.lan/web:1'\\nhosts = ['*']\\n[resources]\\ncpus = 1.5\\nmemory = '1GiB'\\nmemory_swap = '2GiB'\\n\
    memory_reservation = '512MiB'\\n";

/// The metrics of a host with such instances.
fn metrics(
    figures: impl Figures + 'static,
    instances: serde_json::Value,
) -> (Metrics, watch::Sender<Content>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let digest = coord_shared::names::Digest::of(b"image");
    let ledger = format!(
        "{{\"version\":1,\"state\":{{\"version\":1,\"host\":\"h\",\"generation\":7,\"instance\":[{{\"workload\":\"web\",\"index\":0,\
         \"revision\":1,\"digest\":\"{digest}\",\"document\":\"{DOCUMENT}\"}}]}}}}"
    );
    std::fs::write(dir.path().join("ledger.json"), ledger).expect("a ledger");
    // Otherwise every test would be about a host that is told nothing.
    let read = crate::sync::ledger::Ledger::of_any_host(dir.path()).expect("a ledger");
    let instances_asked = &read.state().expect("a host state").instances;
    coord_shared::document::parse(&instances_asked[0].document).map_err(|m| m.summary("")).expect("a document");
    let (sender, content) = watch::channel(told(instances));
    let metrics = Metrics::new(Arc::new(figures), content, dir.path().to_owned(), "h".parse().expect("a host"));
    (metrics, sender, dir)
}

fn told(instances: serde_json::Value) -> Content {
    let report = serde_json::json!({"facts": {"cpus": 2, "memory_total_bytes": 1024}, "instances": instances});
    let full: FullReport = serde_json::from_value(report).expect("a report");
    Content { generation: Some(Generation(7)), full: Some(Arc::new(full)) }
}

fn instance(name: &str, state: &str) -> serde_json::Value {
    serde_json::json!({"instance": name, "state": state, "ready": true, "since": "2026-11-22T20:00:00Z", "restarts": 3,
        "revision": 1, "container": format!("{name}-r1-1"), "health": {"status": "healthy"}})
}

/// What a strict reader of the format makes of it: families with their kinds, and the samples of each.
fn read(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut kinds, mut samples, mut family) = (BTreeMap::new(), BTreeMap::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
            assert_eq!(name, family, "the help comes first");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect("a help").0.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().expect("a name");
            assert_eq!(name, family, "all samples of a family stand together");
            labels(series);
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} is there twice");
        }
    }
    (kinds, samples)
}

/// Reads the labels of a series, as strictly as Prometheus does.
fn labels(series: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Some((_, rest)) = series.split_once('{') else { return found };
    let mut rest = rest;
    loop {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{series}: no label at {rest:?}"));
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}: {name}");
        let (mut text, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("{series}: a label without end")) {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => text.push(c),
                    other => panic!("{series}: {other:?} is escaped"),
                },
                (_, c) => text.push(c),
            }
        };
        assert!(found.insert(name.to_owned(), text).is_none(), "{series}: {name} twice");
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                assert_eq!(rest, "}", "{series}");
                return found;
            }
        }
    }
}

#[tokio::test]
async fn names_are_those_of_cadvisor() {
    let (metrics, _sender, _dir) = metrics(Everything, serde_json::json!([instance("web.0", "running")]));
    let text = metrics.text().await;
    let (kinds, samples) = read(&text);
    let theirs: BTreeSet<&str> = CADVISOR.split_whitespace().collect();
    let ours: BTreeSet<&str> =
        kinds.keys().map(String::as_str).filter(|name| !name.starts_with("coord_") && !name.starts_with("process_")).collect();
    assert_eq!(ours, theirs);
    for (name, kind) in &kinds {
        let counts = name.ends_with("_total") || name == "container_memory_failcnt";
        assert_eq!(kind == "counter", counts, "{name} is a {kind}");
    }
    let labels = "id=\"web.0-r1-1\",image=\"r.lan/web:1\",name=\"web.0\",workload=\"web\"";
    let value = |series: &str| samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{text}")).as_str();
    let of = |name: &str| value(&format!("{name}{{{labels}}}"));
    assert_eq!(value(&format!("container_cpu_usage_seconds_total{{cpu=\"total\",{labels}}}")), "1.500000001");
    assert_eq!(of("container_memory_usage_bytes"), u64::MAX.to_string());
    assert_eq!(of("container_spec_memory_limit_bytes"), "0");
    assert_eq!((of("container_spec_cpu_quota"), of("container_spec_cpu_period")), ("150000", "100000"));
    assert_eq!(of("container_start_time_seconds"), "1795377600");
    assert_eq!(of("container_pressure_cpu_waiting_seconds_total"), "1.500000000");
    assert_eq!(value("coord_instance_restarts_total{name=\"web.0\",workload=\"web\"}"), "3");
    assert_eq!(value("coord_instance_health{status=\"healthy\",name=\"web.0\",workload=\"web\"}"), "1");
    assert_eq!(value("coord_instance_health{status=\"unhealthy\",name=\"web.0\",workload=\"web\"}"), "0");
    assert!(samples.contains_key("process_resident_memory_bytes"), "{text}");
}

#[tokio::test]
async fn what_is_gone_is_told_no_more() {
    let all = serde_json::json!([instance("web.0", "running"), instance("gone.0", "running"), instance("old.0", "exited")]);
    let (metrics, sender, _dir) = metrics(Everything, all);
    let (_, samples) = read(&metrics.text().await);
    let used = |samples: &BTreeMap<String, String>| {
        samples
            .keys()
            .filter(|series| series.starts_with("container_memory_rss"))
            .filter_map(|s| labels(s).remove("name"))
            .collect::<Vec<_>>()
    };
    assert_eq!(used(&samples), ["web.0"]);
    assert!(samples.contains_key("coord_instance_ready{name=\"old.0\",workload=\"old\"}"));
    sender.send_replace(told(serde_json::json!([])));
    let (_, samples) = read(&metrics.text().await);
    assert!(!samples.keys().any(|series| series.contains("web.0") || series.contains("old.0")), "{samples:?}");
}

#[tokio::test]
async fn what_the_host_cannot_tell_is_absent_and_not_zero() {
    let (metrics, _sender, _dir) = metrics(Nothing, serde_json::json!([instance("web.0", "running")]));
    let (kinds, _) = read(&metrics.text().await);
    for absent in
        ["container_memory_usage_bytes", "container_cpu_usage_seconds_total", "container_processes", "container_fs_reads_total"]
    {
        assert!(!kinds.contains_key(absent), "{absent}");
    }
    assert!(kinds.contains_key("container_last_seen"));
}

#[test]
fn labels_are_escaped() {
    let text = label("image", "a\"b\\c\nd");
    assert_eq!(text, r#"image="a\"b\\c\nd""#);
    assert_eq!(labels(&format!("x{{{text}}}"))["image"], "a\"b\\c\nd");
}

#[test]
fn interfaces_are_read() {
    let text = "Inter-|   Receive  | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes ...\n\
        \x20   lo:  1 1 0 0 0 0 0 0  1 1 0 0 0 0 0 0\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n bad: 1 2\n";
    let counters = |bytes, packets, errors, dropped| Counters { bytes, packets, errors, dropped };
    let eth0 = Interface { name: "eth0".to_owned(), received: counters(1000, 10, 1, 2), sent: counters(2000, 20, 3, 4) };
    assert_eq!(parse(text), [eth0]);
}

#[tokio::test]
async fn five_hundred_containers_are_told_quickly() {
    let all: Vec<_> = (0..500).map(|n| instance(&format!("web.{n}"), "running")).collect();
    let (metrics, _sender, _dir) = metrics(Everything, serde_json::json!(all));
    let began = clock::now().mono;
    let text = metrics.text().await;
    let took = clock::now().mono.since(began);
    assert!(text.len() > 500 * 30 * 100, "{} bytes", text.len());
    // Unoptimised, on a loaded machine: two orders of magnitude above what it takes.
    assert!(took.as_secs() < 5, "{took:?}");
}

#[tokio::test]
async fn the_door_answers_one_question() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (metrics, _sender, _dir) = metrics(Everything, serde_json::json!([instance("web.0", "running")]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let set = tokio::task::LocalSet::new();
    set.spawn_local(serve(listener, metrics));
    let ask = async |line: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        stream.write_all(format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    set.run_until(async {
        let good = ask("GET /metrics").await;
        assert!(good.starts_with("HTTP/1.1 200") && good.contains("version=0.0.4") && good.contains("web.0"), "{good}");
        assert!(ask("GET /v1/instances").await.starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 404"));
    })
    .await;
}
