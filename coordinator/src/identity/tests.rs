//! Tokens: made, kept hashed, ended.
use super::*;
use coord_shared::wire::TokenRights;
use coord_store::MemoryStore;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

async fn identity(store: &SharedStore, dir: &Path) -> Identity {
    Identity::load(Arc::clone(store), dir).await.expect("loads")
}

fn host(name: &str) -> HostName {
    name.parse().expect("a host name")
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

fn token_name(name: &str) -> TokenName {
    name.parse().expect("a token's name")
}

fn may_push(pattern: &str) -> TokenRights {
    TokenRights::Registry { pull: Vec::new(), push: vec![pattern.parse().expect("a pattern")] }
}

#[tokio::test]
async fn a_token_with_a_name_is_made_once_and_ends_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: SharedStore = Arc::new(MemoryStore::default());
    let tokens = identity(&store, dir.path()).await;
    let token = tokens.add_token(&token_name("ci"), &may_push("shop/*"), "admin").await.expect("makes");
    let Some(TokenRecord::Registry(rights)) = tokens.who(&token) else { panic!("{:?}", tokens.who(&token)) };
    assert_eq!((rights.name.as_str(), rights.push[0].as_str()), ("ci", "shop/*"));
    let again = tokens.add_token(&token_name("ci"), &TokenRights::Admin, "admin").await;
    assert!(matches!(again, Err(IdentityError::TokenExists(_))));
    let listed = tokens.tokens().await.expect("lists");
    assert_eq!(
        listed.iter().map(|t| (t.name.as_str(), t.made_by.as_deref())).collect::<Vec<_>>(),
        [("admin", None), ("ci", Some("admin"))]
    );
    assert!(identity(&store, dir.path()).await.who(&token).is_some());
    tokens.remove_token(&token_name("ci")).await.expect("ends");
    assert_eq!(tokens.who(&token), None);
    assert_eq!(identity(&store, dir.path()).await.who(&token), None);
    assert!(matches!(tokens.remove_token(&token_name("ci")).await, Err(IdentityError::UnknownToken(_))));
    tokens.add_token(&token_name("ci"), &may_push("*"), "admin").await.expect("the name is free again");
}

#[tokio::test]
async fn somebody_can_always_command_the_fleet() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: SharedStore = Arc::new(MemoryStore::default());
    let tokens = identity(&store, dir.path()).await;
    assert!(matches!(tokens.remove_token(&token_name("admin")).await, Err(IdentityError::LastAdmin(_))));
    tokens.add_token(&token_name("anna"), &TokenRights::Admin, "admin").await.expect("makes");
    tokens.remove_token(&token_name("admin")).await.expect("ends");
    assert!(matches!(tokens.remove_token(&token_name("anna")).await, Err(IdentityError::LastAdmin(_))));
    let first = std::fs::read_to_string(dir.path().join("admin-token")).expect("the token");
    assert_eq!(identity(&store, dir.path()).await.who(first.trim()), None);
}
