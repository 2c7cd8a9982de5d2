//! Logging in: who asks, who answers, and how often.

use super::*;
use crate::fake::{LoginRule, OCI_MANIFEST};
use std::io::Write as _;

fn rule(user: &str, password: &str) -> (String, String) {
    (user.to_owned(), password.to_owned())
}

fn with_login(fake: &FakeRegistry, user: &str, password: &str) -> Registry {
    let config = RegistryConfig { username: Some(user.to_owned()), password: Some(password.to_owned()), ..plain(fake) };
    Registry::with_timeouts(vec![config], None, QUICK).unwrap()
}

#[tokio::test]
async fn basic_is_answered_from_the_entry_and_refused_without() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    let (user, password) = rule("ann", "s3cret");
    fake.require_login(LoginRule::Basic(user, password));
    let image = image(&fake, "a/b:1");
    with_login(&fake, "ann", "s3cret").resolve(&image).await.unwrap();
    let wrong = with_login(&fake, "ann", "wrong").resolve(&image).await.unwrap_err();
    let expect = "image HOST/a/b:1: access denied by the registry; check the username and password of its [[registry]] entry or docker config, and that they may pull this repository";
    assert_eq!(text(&fake, &wrong), expect);
    let none = client(&fake).resolve(&image).await.unwrap_err();
    let expect = "image HOST/a/b:1: access denied by the registry; add username and password to a [[registry]] entry that covers it, or log in with docker login";
    assert_eq!(text(&fake, &none), expect);
}

#[tokio::test]
async fn a_token_serves_a_repository_until_it_is_refused() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Bearer(Some(rule("ann", "s3cret"))));
    let registry = with_login(&fake, "ann", "s3cret");
    let image = image(&fake, "a/b:1");
    for _ in 0..3 {
        registry.resolve(&image).await.unwrap();
    }
    assert_eq!(fake.count("/token"), 1);
    let token_path = fake.requests().into_iter().find(|request| request.path.starts_with("/token")).unwrap().path;
    assert_eq!(token_path, "/token?scope=repository%3Aa%2Fb%3Apull&service=fake");
    fake.revoke_tokens();
    registry.resolve(&image).await.unwrap();
    assert_eq!(fake.count("/token"), 2);
    let wrong = with_login(&fake, "ann", "wrong").resolve(&image).await.unwrap_err();
    assert!(matches!(wrong, RegistryError::Unauthorized { .. }), "{wrong}");
}

#[tokio::test]
async fn anonymous_tokens_need_no_login() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Bearer(None));
    client(&fake).resolve(&image(&fake, "a/b:1")).await.unwrap();
}

#[tokio::test]
async fn docker_logins_are_used_and_entries_beat_them() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    let (user, password) = rule("ann", "s3cret");
    fake.require_login(LoginRule::Basic(user, password));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    // "ann:s3cret"
    write!(file, r#"{{"auths": {{"http://{}/": {{"auth": "YW5uOnMzY3JldA=="}}}}}}"#, fake.host()).unwrap();
    let docker = Some(file.path().to_owned());
    let image = image(&fake, "a/b:1");
    Registry::with_timeouts(vec![plain(&fake)], docker.clone(), QUICK).unwrap().resolve(&image).await.unwrap();
    let wrong = RegistryConfig { username: Some("ann".to_owned()), password: Some("wrong".to_owned()), ..plain(&fake) };
    let refused = Registry::with_timeouts(vec![wrong], docker, QUICK).unwrap().resolve(&image).await;
    assert!(matches!(refused, Err(RegistryError::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_login_that_cannot_be_read_is_an_error_at_once() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(br#"{"auths": {"r.example": {"auth": "%%%"}}}"#).unwrap();
    let error = Registry::new(Vec::new(), Some(file.path().to_owned())).err().unwrap().to_string();
    let expect = r#": has a bad entry for "r.example": auth is not base64; repair it or log in again"#;
    assert!(error.starts_with("registry configuration: /") && error.ends_with(expect), "{error}");
    assert!(Registry::new(Vec::new(), Some("/nonexistent/config.json".into())).is_ok());
}
