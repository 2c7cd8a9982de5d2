//! The bodies survive their own travel, and a peer of another age.
use super::*;
use crate::decide::reason::Reason;
use crate::names::{Digest, Generation, Revision};

fn state() -> HostState {
    HostState {
        version: WIRE_VERSION,
        host: "web-1".parse().expect("a host name"),
        generation: Generation(7),
        instances: vec![DesiredInstance {
            workload: "web".parse().expect("a workload name"),
            index: 0,
            revision: Revision(3),
            digest: Digest::of(b"image"),
            document: "image = \"r.lan/web\"\nhosts = [\"*\"]\n# quotes ''' and \"\"\" and \\ survive\n".to_owned(),
        }],
        watches: Vec::new(),
        builds: Vec::new(),
        prefetch: vec![Prefetch { image: "r.lan/web:2".parse().expect("an image"), digest: Digest::of(b"next") }],
        registries: vec![login()],
        sessions: Vec::new(),
    }
}

fn login() -> RegistryLogin {
    RegistryLogin {
        prefix: "r.lan".to_owned(),
        location: Some("mirror.lan:5000/r".to_owned()),
        mirrors: vec!["cache.lan".to_owned()],
        insecure: true,
        username: Some("puller".to_owned()),
        password: Some("sesame".to_owned()),
    }
}

#[test]
fn host_state_survives_toml() {
    let state = state();
    assert_eq!(HostState::from_toml(&state.to_toml()), Ok(state));
}

#[test]
fn host_state_skips_what_it_does_not_know() {
    let text = format!("{}\n[from_the_future]\nx = 1\n", state().to_toml());
    assert_eq!(HostState::from_toml(&text), Ok(state()));
}

#[test]
fn helps_that_it_cannot_read_cost_nothing_else() {
    let new = "[[prefetch]]\nimage = \"ipfs://x\"\ndigest = \"sha1:0\"\n[[registry]]\nlogin_by = \"magic\"\n";
    let text = format!("{}\n{new}", state().to_toml());
    assert_eq!(HostState::from_toml(&text), Ok(state()));
    let json = serde_json::to_string(&state()).expect("serialisable");
    assert_eq!(serde_json::from_str::<HostState>(&json).expect("as the ledger keeps it"), state());
}

#[test]
fn a_host_state_without_helps_is_whole() {
    let without = HostState { prefetch: Vec::new(), registries: Vec::new(), ..state() };
    let text = without.to_toml();
    assert!(!text.contains("prefetch") && !text.contains("registry"), "{text}");
    assert_eq!(HostState::from_toml(&text), Ok(without));
}

#[test]
fn passwords_are_not_shown() {
    let shown = format!("{:?}", state());
    assert!(shown.contains("puller") && !shown.contains("sesame"), "{shown}");
}

#[test]
fn an_unknown_state_of_an_image_is_still_a_report() {
    let report: PrefetchReport =
        serde_json::from_str(&format!(r#"{{"digest":"{}","state":"thawing","at":3}}"#, Digest::of(b"next"))).expect("tolerant");
    assert_eq!(report.state, PrefetchState::Unknown);
    let known = PrefetchReport { state: PrefetchState::Pulling { done_bytes: 1, total_bytes: 4 }, ..report };
    let text = serde_json::to_string(&known).expect("serialisable");
    assert_eq!(serde_json::from_str::<PrefetchReport>(&text).expect("its own text"), known);
}

#[test]
fn host_state_refuses_a_newer_version_and_twins() {
    let newer = HostState { version: 2, ..state() };
    assert_eq!(HostState::from_toml(&newer.to_toml()), Err(StateError::TooNew(2)));
    let mut twins = state();
    twins.instances.push(twins.instances[0].clone());
    assert!(matches!(HostState::from_toml(&twins.to_toml()), Err(StateError::Duplicate(_))));
    let text = state().to_toml();
    assert!(matches!(HostState::from_toml(&text[..text.len() / 2]), Err(StateError::Unreadable(_))));
}

#[test]
fn an_unknown_reason_is_still_a_reason() {
    let reason: Reason = serde_json::from_str(r#"{"code":"quantum_flux","depth":3}"#).expect("tolerant");
    assert_eq!(reason, Reason::Unknown);
    let known = Reason::Pulling { done_bytes: 1, total_bytes: 4, bytes_per_s: 2 };
    let text = serde_json::to_string(&known).expect("serialisable");
    assert_eq!(serde_json::from_str::<Reason>(&text).expect("its own text"), known);
}
