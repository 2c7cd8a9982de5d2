//! Logins: what the coordinator says of registries, as the registry client takes it.
//!
//! What the host itself knows (`agent.toml`, logins of docker and podman) comes first; that is the client's affair.

use coord_registry::RegistryConfig;
use coord_shared::wire::RegistryLogin;

/// The entries of a host state. They name no file and run no program, whatever a coordinator may wish.
pub fn delivered(logins: &[RegistryLogin]) -> Vec<RegistryConfig> {
    let entry = |login: &RegistryLogin| RegistryConfig {
        prefix: login.prefix.clone(),
        location: login.location.clone(),
        mirror: login.mirrors.clone(),
        insecure: login.insecure,
        username: login.username.clone(),
        password: login.password.clone(),
        ..RegistryConfig::default()
    };
    logins.iter().map(entry).collect()
}
