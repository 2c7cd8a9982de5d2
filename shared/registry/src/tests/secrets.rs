//! Whatever goes wrong, no secret is said: not in errors, not in what prints itself, not in the log.

use super::*;
use crate::fake::{LoginRule, OCI_INDEX};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

const SECRET: &str = "s3cr3t-of-ann";

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (fake, mirror) = (FakeRegistry::start().await.unwrap(), FakeRegistry::start().await.unwrap());
    fake.put_manifest("a/b", "1", OCI_INDEX, "{}");
    let image = image(&fake, "a/b:1");
    let config = |proxy: Option<String>| RegistryConfig {
        username: Some("ann".to_owned()),
        password: Some(SECRET.to_owned()),
        mirror: vec![mirror.host()],
        proxy,
        ..plain(&fake)
    };
    let mut said = Vec::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other_user = || Some(("ben".to_owned(), "x".to_owned()));
    for rule in [LoginRule::Basic("ben".to_owned(), "x".to_owned()), LoginRule::Bearer(other_user())] {
        fake.require_login(rule);
        for proxy in [None, Some(format!("http://ann:{SECRET}@{dead}"))] {
            let entry = RegistryConfig { ca: None, ..config(proxy) };
            said.push(format!("{entry:?}"));
            let registry = Registry::with_timeouts(vec![entry.clone()], None, QUICK).unwrap();
            registry.set_delivered(vec![entry, RegistryConfig { prefix: String::new(), ..config(None) }]);
            let error = registry.resolve(&image).await.unwrap_err();
            said.push(format!("{} {error:?}", crate::chain(&error)));
        }
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    for text in [
        format!(r#"{{"auths": {{"a": {{"username": "{SECRET}", "password": 7}}}}}}"#),
        format!(r#"{{"auths": {{"a": {{"auth": "{SECRET}"}}}}}}"#),
        SECRET.to_owned(),
    ] {
        std::fs::write(&path, &text).unwrap();
        said.push(Registry::new(Vec::new(), Some(path.clone())).err().unwrap().to_string());
    }
    let bad = [config(Some(format!("socks5://ann:{SECRET}@p"))), RegistryConfig { username: None, ..config(None) }];
    said.extend(bad.map(|entry| Registry::new(vec![entry], None).err().unwrap().to_string()));
    said.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let all = said.join("\n");
    assert!(all.contains("passed over") && all.contains("left out"), "the log was listened to: {all}");
    assert!(!all.contains(SECRET) && !all.contains("YW5uOnMz"), "{all}");
}
