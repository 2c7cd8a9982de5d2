//! Logging in: who asks, who answers, and how often.

use super::*;
use crate::fake::{Fault, LoginRule, OCI_MANIFEST};
use crate::logins::Logins;
use crate::route::Entries;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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

/// Helpers in a folder of their own: each line of the script is the shell's.
fn with_helper(fake: &FakeRegistry, folder: &Path, script: &str, entry: RegistryConfig, file: Option<PathBuf>) -> Registry {
    let path = folder.join("docker-credential-test");
    std::fs::write(&path, format!("#!/bin/sh\nread server\necho run >>'{}'\n{script}\n", folder.join("runs").display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut logins = Logins::new(file).unwrap();
    logins.helpers.search_path = Some(folder.as_os_str().to_owned());
    Registry::assemble(
        Entries::new(vec![RegistryConfig { prefix: fake.host(), insecure: true, ..entry }]).unwrap(),
        logins,
        QUICK,
    )
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn credential_helpers_are_asked_once_for_some_minutes() {
    let (fake, folder) = (FakeRegistry::start().await.unwrap(), tempfile::TempDir::new().unwrap());
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.put_manifest("c", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Basic("ann".to_owned(), "s3cret".to_owned()));
    let answer = format!(r#"[ "$server" = "{}" ] && echo '{{"ServerURL":"x","Username":"ann","Secret":"s3cret"}}'"#, fake.host());
    let entry = RegistryConfig { credential_helper: Some("test".to_owned()), ..RegistryConfig::default() };
    let registry = with_helper(&fake, folder.path(), &answer, entry, None);
    registry.resolve(&image(&fake, "a/b:1")).await.unwrap();
    registry.resolve(&image(&fake, "c:1")).await.unwrap();
    assert_eq!(runs(folder.path()), 1);
    // A password that was changed is asked for anew at once, and not more than once.
    let (user, password) = rule("ann", "changed");
    fake.require_login(LoginRule::Basic(user, password));
    assert!(matches!(registry.resolve(&image(&fake, "a/b:1")).await, Err(RegistryError::Unauthorized { .. })));
    assert_eq!(runs(folder.path()), 2);
}

#[tokio::test]
async fn docker_configs_name_helpers_for_one_registry_or_all() {
    let (fake, folder) = (FakeRegistry::start().await.unwrap(), tempfile::TempDir::new().unwrap());
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Basic("ann".to_owned(), "s3cret".to_owned()));
    let file = folder.path().join("config.json");
    let answer = r#"echo '{"Username":"ann","Secret":"s3cret"}'"#;
    let (host, image) = (fake.host(), image(&fake, "a/b:1"));
    for config in [
        format!(r#"{{"auths": {{"{host}": {{}}}}, "credsStore": "test"}}"#),
        format!(r#"{{"auths": {{"{host}": {{"auth": "YW5uOndyb25n"}}}}, "credHelpers": {{"{host}": "test"}}}}"#),
    ] {
        std::fs::write(&file, config).unwrap();
        let registry = with_helper(&fake, folder.path(), answer, RegistryConfig::default(), Some(file.clone()));
        registry.resolve(&image).await.unwrap();
    }
    assert_eq!(runs(folder.path()), 2);
}

#[tokio::test]
async fn a_helper_that_fails_is_named_and_one_that_knows_nothing_is_no_login() {
    let (fake, folder) = (FakeRegistry::start().await.unwrap(), tempfile::TempDir::new().unwrap());
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Basic("ann".to_owned(), "s3cret".to_owned()));
    let (host, image) = (fake.host(), image(&fake, "a/b:1"));
    let check = async |script: &str, helper: &str, expect: &str| {
        let entry = RegistryConfig { credential_helper: Some(helper.to_owned()), ..RegistryConfig::default() };
        let registry = with_helper(&fake, folder.path(), script, entry, None);
        let error = registry.resolve(&image).await.unwrap_err();
        let text = text(&fake, &error);
        assert!(text.contains(expect), "{script}: {text}");
        error.is_retryable()
    };
    let hint = "try it: echo HOST | docker-credential-test get";
    assert!(!check("echo 'credentials not found in native keychain'; exit 1", "test", "access denied by the registry").await);
    assert!(check("echo 'no cloud here' >&2; exit 3", "test", "failed (exit status: 3): no cloud here").await);
    assert!(check("echo '{\"Secret\": \"s3cret\"'; exit 3", "test", &format!("failed (exit status: 3): ; {hint}")).await);
    assert!(check("echo s3cret", "test", &format!("gave an answer that is not its protocol's; {hint}")).await);
    assert!(check("while :; do echo too much; done", "test", "said more than 65536 bytes").await);
    assert!(check("", "nobody", "docker-credential-nobody is not installed, or not in PATH").await);
    assert!(!host.is_empty());
}

#[tokio::test]
async fn a_store_that_is_not_installed_keeps_nobody_from_what_is_open() {
    let (fake, folder) = (FakeRegistry::start().await.unwrap(), tempfile::TempDir::new().unwrap());
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Bearer(None));
    let file = folder.path().join("config.json");
    let resolve = async |config: String| {
        std::fs::write(&file, config).unwrap();
        with_helper(&fake, folder.path(), "exit 1", RegistryConfig::default(), Some(file.clone()))
            .resolve(&image(&fake, "a/b:1"))
            .await
    };
    resolve(r#"{"credsStore": "desktop"}"#.to_owned()).await.unwrap();
    // One that is named for this registry is needed.
    let error = resolve(format!(r#"{{"credHelpers": {{"{}": "desktop"}}}}"#, fake.host())).await.unwrap_err();
    assert!(error.to_string().contains("docker-credential-desktop is not installed"), "{error}");
}

#[tokio::test]
async fn identity_tokens_are_exchanged_and_registry_tokens_presented() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("config.json");
    let image = image(&fake, "a/b:1");
    let resolve = async |auth: &str| {
        std::fs::write(&file, format!(r#"{{"auths": {{"{}": {auth}}}}}"#, fake.host())).unwrap();
        Registry::with_timeouts(vec![plain(&fake)], Some(file.clone()), QUICK).unwrap().resolve(&image).await
    };
    fake.require_login(LoginRule::Identity("refresh-me".to_owned()));
    resolve(r#"{"auth": "YW5uOg==", "identitytoken": "refresh-me"}"#).await.unwrap();
    let exchange = fake.requests().into_iter().find(|request| request.path == "/token").unwrap();
    assert!(
        exchange.body.contains("client_id=coord") && exchange.body.contains("scope=repository%3Aa%2Fb%3Apull"),
        "{exchange:?}"
    );
    assert!(matches!(resolve(r#"{"identitytoken": "wrong"}"#).await, Err(RegistryError::Unauthorized { .. })));
    resolve(r#"{"registrytoken": "token-1"}"#).await.unwrap();
    assert_eq!(fake.count("/token"), 2);
    // A helper may know one, too.
    let answer = r#"echo '{"Username":"<token>","Secret":"refresh-me"}'"#;
    let entry = RegistryConfig { credential_helper: Some("test".to_owned()), ..RegistryConfig::default() };
    with_helper(&fake, folder.path(), answer, entry, None).resolve(&image).await.unwrap();
}

#[tokio::test]
async fn a_login_file_that_changes_is_read_again() {
    let fake = FakeRegistry::start().await.unwrap();
    fake.put_manifest("a/b", "1", OCI_MANIFEST, "{}");
    fake.require_login(LoginRule::Basic("ann".to_owned(), "s3cret".to_owned()));
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("config.json");
    let registry = Registry::with_timeouts(vec![plain(&fake)], Some(file.clone()), QUICK).unwrap();
    let image = image(&fake, "a/b:1");
    assert!(registry.resolve(&image).await.is_err());
    std::fs::write(&file, format!(r#"{{"auths": {{"{}": {{"auth": "YW5uOnMzY3JldA=="}}}}}}"#, fake.host())).unwrap();
    registry.resolve(&image).await.unwrap();
    // Half written, it is as it was.
    std::fs::write(&file, "{").unwrap();
    fake.put_manifest("c", "1", OCI_MANIFEST, "{}");
    let other: ImageReference = format!("{}/c:1", fake.host()).parse().unwrap();
    registry.resolve(&other).await.unwrap();
}

#[tokio::test]
async fn all_who_are_refused_at_once_wait_for_one_token() {
    let fake = FakeRegistry::start().await.unwrap();
    let blob = fake.put_blob("content");
    fake.require_login(LoginRule::Bearer(None));
    let (registry, image) = (client(&fake), image(&fake, "a/b:1"));
    let get = async || registry.blob(&image, &blob, 7, 0..7).await.map(drop);
    let (one, two, three) = tokio::join!(get(), get(), get());
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(fake.count("/token"), 1);
    // Also in the middle of a pull.
    fake.revoke_tokens();
    let rest = async || registry.blob(&image, &blob, 7, 3..7).await.map(drop);
    let (one, two, three) = tokio::join!(rest(), rest(), rest());
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(fake.count("/token"), 2);
}

#[tokio::test]
async fn a_signed_address_that_has_run_out_is_asked_for_again() {
    let (fake, storage) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    let blob = storage.put_blob("content");
    let to = || Fault::Status(307, vec![format!("Location: http://{}/v2/bucket/blobs/{blob}", storage.host())]);
    fake.fault("/blobs/", to(), 9);
    let (registry, image) = (client(&fake), image(&fake, "a/b:1"));
    storage.fault("/blobs/", Fault::Status(403, Vec::new()), 1);
    registry.blob(&image, &blob, 7, 0..7).await.unwrap();
    assert_eq!((fake.count("/blobs/"), storage.count("/blobs/")), (2, 2));
    // Storage that asks for a login does not get ours.
    let challenge = vec![format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"", storage.host())];
    storage.fault("/blobs/", Fault::Status(401, challenge), 2);
    let error = registry.blob(&image, &blob, 7, 0..7).await.err().unwrap();
    assert!(
        error.is_retryable() && error.to_string().contains("the storage that its registry redirects to refuses it"),
        "{error}"
    );
    assert_eq!(storage.count("/token"), 0);
}
