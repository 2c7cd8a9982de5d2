//! What `agent.toml` takes, and in which words it refuses the rest.
use super::*;
use coord_image::FormatChoice;

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
    let prefixes: Vec<&str> = config.registries.iter().map(|entry| entry.prefix.as_str()).collect();
    assert_eq!(prefixes, ["127.0.0.1:5000", "coord.internal", "coord.lan:7700"]);
    assert_eq!(config.network, coord_network::Settings::default());
    let config = check("host = \"a\"\n[network]\npool = \"172.30.0.0/20\"\npool6 = \"none\"\nmtu = 1400\n", Ok(())).expect("one");
    assert_eq!((config.network.pool.1, config.network.pool6, config.network.mtu), (20, None, Some(1400)));
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
    check("host = \"a\"\n[images]\nhigh_water = \"0%\"", Err("images.high_water = \"0%\" is not a share"));
    check("host = \"a\"\n[images]\nlow_water = \"75\"", Err("images.low_water = \"75\" is not a share"));
    check("host = \"a\"\n[images]\nlow_water = \"85%\"", Err("must be less than images.high_water = \"85%\""));
    check("host = \"a\"\n[images]\nkeep = \"1 day\"", Err("not a length of time"));
    check("host = \"a\"\n[images]\nbandwidth = \"1KiB\"", Err("less than 16KiB a second"));
    check("host = \"a\"\n[images]\nformat = \"tar\"", Err("expected one of `auto`, `directories`, `loop`"));
    check("host = \"a\"\n[images]\nkep = \"1h\"", Err("unknown field `kep`"));
    check("host = \"a\"\n[images.limits]\nmax_size = \"1KiB\"", Err("images.limits.max_size is less than 1MiB"));
    check("host = \"a\"\n[images.limits]\nmax_entries = 0", Err("images.limits.max_entries is 0"));
    check("host = \"a\"\n[images.limits]\nmax_ratio = 2", Err("images.limits.max_ratio is less than 10"));
    check("host = \"a\"\n[isolation]\nruntime = \"docker\"", Err("expected one of `embedded`, `crun`, `runc`, `runsc`"));
    check("host = \"a\"\n[isolation]\nuser_namespaces = \"on\"", Err("expected one of `auto`, `off`, `require`"));
    check("host = \"a\"\n[isolation]\nuser_range = \"100000\"", Err("isolation.user_range = \"100000\" is not a range"));
    check("host = \"a\"\n[isolation]\nuser_range = \"9-1\"", Err("is not a range"));
    check("host = \"a\"\n[isolation]\nuser_range = \"1000-100000\"", Err("holds users of the host"));
    check("host = \"a\"\n[isolation]\nuser_range = \"100000-100001\"", Err("holds 2 users, and each container has 65536"));
    check("host = \"a\"\n[network]\npool = \"10.1.2.0\"", Err("network.pool = \"10.1.2.0\" is not a network"));
    check("host = \"a\"\n[network]\npool = \"10.1.2.3/24\"", Err("write \"10.1.2.0/24\""));
    check("host = \"a\"\n[network]\npool6 = \"2001:db8::/64\"", Err("network.pool6 = \"2001:db8::/64\" is not of fc00::/7"));
    check("host = \"a\"\n[network]\nbridge = \"a b\"", Err("network.bridge"));
    check("host = ", Err("not a valid agent configuration"));
    check("[[registry]]\nprefix = \"a\"\npassword = 7", Err("line 3, password: invalid type: integer, expected a string"));
}

#[test]
fn a_host_may_stand_alone() {
    let config = check("host = \"a\"", Ok(())).expect("a configuration");
    assert!(config.coordinators.is_empty());
    assert_eq!(config.state_dir, Path::new("/var/lib/coord"));
}

#[test]
fn images_take_what_they_are_given() {
    let config = check("host = \"a\"", Ok(())).expect("a configuration");
    assert_eq!(config.images, ImagesConfig::default());
    let config = check(
        "host = \"a\"\n[images]\nhigh_water = \"60%\"\nkeep = \"1h\"\nreserve = \"5GiB\"\nbandwidth = \"50MB\"\n\
         format = \"directories\"\n[images.limits]\nmax_size = \"1GiB\"\nmax_entries = 10\nmax_ratio = 20\n",
        Ok(()),
    );
    let images = config.expect("a configuration").images;
    // The low mark follows a high one that is lower than its default.
    assert_eq!((images.high_water_percent, images.low_water_percent), (60, 50));
    assert_eq!(images.keep.as_secs(), 3600);
    assert_eq!(images.reserve_bytes, 5 << 30);
    assert_eq!(images.bandwidth_bytes_per_s, Some(50 << 20));
    assert_eq!(images.format, FormatChoice::Directories);
    assert_eq!(images.limits.layer_max_bytes, 1 << 30);
    assert_eq!((images.limits.layer_max_entries, images.limits.ratio_max), (10, 20));
}

#[test]
fn isolation_is_what_is_said_or_the_default() {
    let config = check("host = \"a\"", Ok(())).expect("a configuration");
    assert_eq!(config.isolation, IsolationConfig::default());
    let text = "host = \"a\"\n[isolation]\nruntime = \"crun\"\nuser_namespaces = \"require\"\nuser_range = \"100000-165535\"";
    let isolation = check(text, Ok(())).expect("a configuration").isolation;
    assert_eq!(isolation.user_range, UserRange { first: 100_000, count: 65536 });
    let rest = (isolation.runtime, isolation.user_namespaces);
    assert_eq!(rest, (coord_shared::document::RuntimeName::Crun, coord_runtime::UserNamespaces::Require));
}

#[test]
fn a_host_builds_where_it_is_told_to() {
    let least = "host = \"a\"\n";
    assert_eq!(check(least, Ok(())).expect("one").builder, None);
    let builder = check(&format!("{least}[builder]\n"), Ok(())).and_then(|config| config.builder).expect("a builder");
    assert_eq!((builder.runs, builder.host_steps, builder.pids, builder.user.as_str()), (1, false, 2048, "nobody"));
    let text = format!("{least}[builder]\nruns = 2\nmemory = \"1GiB\"\ncpus = 0.5\ndisk = \"1GiB\"\n");
    let builder = check(&text, Ok(())).and_then(|config| config.builder).expect("a builder");
    assert_eq!((builder.runs, builder.memory_bytes, builder.cpus_milli, builder.disk_bytes), (2, 1 << 30, Some(500), 1 << 30));
    for (key, part) in [
        ("runs = 0", "builder.runs"),
        ("user = \"root\"", "is root"),
        ("user = \"0:100\"", "is root"),
        ("memory = \"1MiB\"", "builder.memory"),
        ("cpus = 0", "builder.cpus"),
        ("pids = 1", "builder.pids"),
        ("disk = \"1KiB\"", "builder.disk"),
        ("step = 1", "unknown field"),
    ] {
        check(&format!("{least}[builder]\n{key}\n"), Err(part));
    }
}
