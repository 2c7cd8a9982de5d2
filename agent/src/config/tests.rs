//! What `agent.toml` takes, and in which words it refuses the rest.
use super::*;

fn check(text: &str, expect: Result<(), &str>) -> Option<Config> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, text).expect("written");
    std::fs::write(folder.path().join("token"), "coord-agent-x\n").expect("written");
    match (load(&file), expect) {
        (Ok(config), Ok(())) => Some(config),
        (Err(error), Err(part)) => {
            let shown = error.to_string();
            assert!(shown.contains(part) && shown.contains("agent.toml"), "{text:?}: {shown}");
            None
        }
        (Ok(config), Err(part)) => panic!("{text:?} was taken ({config:?}), expected {part:?}"),
        (Err(error), Ok(())) => panic!("{text:?}: {error}"),
    }
}

#[test]
fn a_whole_configuration() {
    let config = check(
        "host = \"web-1\"\ncoordinator = [\"https://coord.lan:7700/\"]\ntoken_file = \"token\"\n[labels]\nrole = \"web\"\n\
         [[registry]]\nprefix = \"127.0.0.1:5000\"\ninsecure = true\n[log]\nmax_size = \"1MiB\"\n",
        Ok(()),
    )
    .expect("a configuration");
    assert_eq!(config.token, "coord-agent-x");
    assert_eq!(config.coordinators, ["https://coord.lan:7700"]);
    assert_eq!(config.labels["role"], "web");
    assert_eq!(config.log_max_bytes, 1024 * 1024);
    assert_eq!(config.registries.len(), 1);
}

#[test]
fn mistakes_are_named() {
    check("host = \"Web\"", Err("lower case"));
    check("hots = \"web\"", Err("unknown field `hots`"));
    check("host = \"a\"\ncoordinator = [\"http://10.0.0.1:7700\"]\ntoken = \"x\"", Err("in the clear"));
    check("host = \"a\"\ncoordinator = [\"coord\"]\ntoken = \"x\"", Err("not a URL"));
    check("host = \"a\"\ncoordinator = [\"https://c\"]", Err("coordctl hosts add a"));
    check("host = \"a\"\ntoken = \"x\"\ntoken_file = \"token\"", Err("both set"));
    check("host = \"a\"\ncoordinator = [\"https://c\"]\ntoken_file = \"gone\"", Err("cannot read token_file"));
    check("host = \"a\"\n[labels]\n\"no good\" = \"x\"", Err("label key"));
    check("host = ", Err("not a valid agent configuration"));
}

#[test]
fn a_host_may_stand_alone() {
    let config = check("host = \"a\"", Ok(())).expect("a configuration");
    assert!(config.coordinators.is_empty());
    assert_eq!(config.state_dir, Path::new("/var/lib/coord"));
}
