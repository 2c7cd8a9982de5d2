//! Tokens: made, kept hashed, ended.
use super::*;
use coord_store::MemoryStore;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

async fn identity(store: &SharedStore, dir: &Path) -> Identity {
    Identity::load(Arc::clone(store), dir).await.expect("loads")
}

fn host(name: &str) -> HostName {
    name.parse().expect("a host name")
}

#[test]
fn base64url_is_that_of_the_rfc() {
    let check = |bytes: &[u8], expect: &str| assert_eq!(base64url(bytes), expect);
    check(b"", "");
    check(b"f", "Zg");
    check(b"fo", "Zm8");
    check(b"foo", "Zm9v");
    check(b"foobar", "Zm9vYmFy");
    check(&[0xfb, 0xff], "-_8");
}

#[tokio::test]
async fn the_first_start_makes_one_admin_token_and_later_ones_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: SharedStore = Arc::new(MemoryStore::default());
    let file = dir.path().join("admin-token");
    let first = identity(&store, dir.path()).await;
    let token = std::fs::read_to_string(&file).expect("the token");
    assert_eq!(first.who(token.trim()), Some(TokenRecord::Admin("admin".to_owned())));
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let again = identity(&store, dir.path()).await;
    assert_eq!(std::fs::read_to_string(&file).expect("the token"), token);
    assert_eq!(again.who(token.trim()), Some(TokenRecord::Admin("admin".to_owned())));
    let stored = store.range("").await.expect("reads");
    assert!(stored.iter().all(|e| !e.key.contains(token.trim()) && !String::from_utf8_lossy(&e.value).contains(token.trim())));
}

#[tokio::test]
async fn a_host_has_one_token_at_a_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: SharedStore = Arc::new(MemoryStore::default());
    let tokens = identity(&store, dir.path()).await;
    let (first, _) = tokens.add_host(&host("a")).await.expect("adds");
    assert_eq!(first.len(), AGENT_PREFIX.len() + 43);
    assert_eq!(tokens.who(&first), Some(TokenRecord::Agent(host("a"))));
    let (second, _) = tokens.add_host(&host("a")).await.expect("adds again");
    assert_eq!(tokens.who(&first), None);
    assert_eq!(tokens.who(&second), Some(TokenRecord::Agent(host("a"))));
    assert_eq!(identity(&store, dir.path()).await.who(&second), Some(TokenRecord::Agent(host("a"))));
    tokens.remove_host(&host("a")).await.expect("removes");
    assert_eq!(tokens.who(&second), None);
    assert!(matches!(tokens.remove_host(&host("a")).await, Err(IdentityError::UnknownHost(_))));
    assert_eq!(identity(&store, dir.path()).await.who(&second), None);
}
