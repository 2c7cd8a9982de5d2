//! Which level wins, and which settings are refused.

use super::*;

fn flags(url: Option<&str>, token: Option<&str>, token_file: Option<&str>) -> ConnectionArgs {
    ConnectionArgs {
        url: url.map(str::to_owned),
        token: token.map(str::to_owned),
        token_file: token_file.map(PathBuf::from),
        ..ConnectionArgs::default()
    }
}

/// Resolves with these flags, `NAME=value` variables, and the text of a configuration file.
fn settings(flags: &ConnectionArgs, env: &[(&str, &str)], file: &str) -> Result<Settings, String> {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let file = toml::from_str(file).expect("a configuration file");
    resolve(flags, &env, file, "config.toml").map_err(|error| error.to_string())
}

#[test]
fn flags_outweigh_the_environment_which_outweighs_the_file() {
    let check = |flag: Option<&str>, env: &[(&str, &str)], file: &str, expect: &str| {
        let settings = settings(&flags(flag, Some("t"), None), env, file).expect("good settings");
        assert_eq!(settings.url.as_str(), expect);
    };
    let (env, file) = ([("COORD_URL", "https://env:1")], "url = 'https://file:1'");
    check(Some("https://flag:1"), &env, file, "https://flag:1/");
    check(None, &env, file, "https://env:1/");
    check(None, &[], file, "https://file:1/");
    check(None, &[], "", "http://127.0.0.1:7700/");
}

#[test]
fn a_token_of_either_spelling_outweighs_the_level_below() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    std::fs::write(&path, "from-a-file\n").expect("write the token");
    let path = path.to_str().expect("UTF-8");
    let check = |flags: &ConnectionArgs, env: &[(&str, &str)], file: &str, expect: &str| {
        assert_eq!(settings(flags, env, file).expect("good settings").token, expect);
    };
    let file = "token = 'file'";
    check(&flags(None, Some("flag"), None), &[("COORD_TOKEN", "env")], file, "flag");
    check(&flags(None, None, Some(path)), &[("COORD_TOKEN", "env")], file, "from-a-file");
    check(&flags(None, None, None), &[("COORD_TOKEN_FILE", path)], file, "from-a-file");
    check(&flags(None, None, None), &[("COORD_TOKEN", "env")], file, "env");
    check(&flags(None, None, None), &[], file, "file");
    check(&flags(None, None, None), &[], &format!("token_file = '{path}'"), "from-a-file");
}

#[test]
fn other_settings_have_the_same_levels() {
    let flags =
        ConnectionArgs { request_timeout: Some(coord_shared::quantity::Span::seconds(3)), ..flags(None, Some("t"), None) };
    let found = settings(&flags, &[("COORD_CA", "/env.pem")], "ca = '/file.pem'").expect("good settings");
    assert_eq!(found.ca, Some(PathBuf::from("/env.pem")));
    assert_eq!(found.request_timeout, Duration::from_secs(3));
    let found = settings(&ConnectionArgs::default(), &[], "ca = '/file.pem'\ntoken = 't'").expect("good settings");
    assert_eq!(found.ca, Some(PathBuf::from("/file.pem")));
    assert_eq!(found.request_timeout, Duration::from_secs(30));
}

#[test]
fn bad_settings_are_refused() {
    let check = |flags: &ConnectionArgs, env: &[(&str, &str)], file: &str, expect: &str| {
        let error = settings(flags, env, file).expect_err("bad settings");
        assert!(error.contains(expect), "{error:?} does not say {expect:?}");
    };
    let none = flags(None, None, None);
    check(&none, &[], "", "no admin token");
    check(&none, &[("COORD_TOKEN", "a"), ("COORD_TOKEN_FILE", "b")], "", "the environment gives both");
    check(&none, &[], "token = 'a'\ntoken_file = 'b'", "config.toml gives both");
    check(&none, &[], "token = ' '", "the token from config.toml is empty");
    check(&none, &[], "token = 'two words'", "characters that no token has");
    check(&none, &[("COORD_TOKEN", "t\u{f6}ken")], "", "characters that no token has");
    check(&none, &[("COORD_TOKEN_FILE", "/does/not/exist")], "", "cannot read /does/not/exist");
    let url = |url| flags(Some(url), Some("t"), None);
    check(&url("coordinator"), &[], "", "(--url) is not a URL");
    check(&url("ftp://c"), &[], "", "has the scheme \"ftp\"");
    check(&url("https://user:pw@c"), &[], "", "more than scheme, host, port and path");
    check(&url("http://coordinator.lan:7700"), &[], "", "readably through the network");
    check(&url("http://10.0.0.1"), &[], "", "readably through the network");
}

#[test]
fn plain_http_is_for_this_machine() {
    let check = |url: &str, expect: bool| assert_eq!(is_this_machine(&url.parse().expect("a URL")), expect, "{url}");
    check("http://127.0.0.1:7700", true);
    check("http://127.8.8.8", true);
    check("http://[::1]:7700", true);
    check("http://localhost", true);
    check("http://localhost.evil.example", false);
    check("http://128.0.0.1", false);
    check("http://[::2]", false);
}

#[test]
fn the_file_is_strict_and_may_be_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.toml");
    assert!(read_config(&path).expect("a missing file is an empty one").0.url.is_none());
    let check = |text: &str, expect: &str| {
        std::fs::write(&path, text).expect("write the file");
        let error = read_config(&path).expect_err("a bad file").to_string();
        assert!(error.contains(expect), "{error:?} does not say {expect:?}");
    };
    check("url = 'https://c'\ntokken = 'x'\n", "config.toml:2: unknown field `tokken`");
    check("url = 1\n", "config.toml:1: invalid type");
    check("url = \n", "config.toml:1:");
}

#[test]
fn the_file_s_paths_are_its_neighbours_and_its_secrets_are_watched() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "token_file = 'token'\nca = '/etc/ca.pem'\n").expect("write the file");
    let (file, warning) = read_config(&path).expect("a good file");
    assert_eq!(file.token_file, Some(dir.path().join("token")));
    assert_eq!(file.ca, Some(PathBuf::from("/etc/ca.pem")));
    assert_eq!(warning, None);
    std::fs::write(&path, "token = 'secret'\n").expect("write the file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(read_config(&path).expect("a good file").1.is_some_and(|warning| warning.contains("chmod 600")));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(read_config(&path).expect("a good file").1, None);
}

#[test]
fn the_file_is_where_xdg_says() {
    let check = |env: &[(&str, &str)], expect: Option<&str>| {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(config_path(&env), expect.map(PathBuf::from));
    };
    check(&[("HOME", "/home/ann")], Some("/home/ann/.config/coord/config.toml"));
    check(&[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "/x")], Some("/x/coord/config.toml"));
    check(&[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "relative")], Some("/home/ann/.config/coord/config.toml"));
    check(&[], None);
}
