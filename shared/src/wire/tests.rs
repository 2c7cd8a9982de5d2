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
        sessions: Vec::new(),
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
    let known = Reason::Pulling { done_bytes: 1, total_bytes: 4 };
    let text = serde_json::to_string(&known).expect("serialisable");
    assert_eq!(serde_json::from_str::<Reason>(&text).expect("its own text"), known);
}
