//! Configs as builders write them. Made by hand after what the builders' sources and published images have.

use crate::config::{Healthcheck, ImageConfig, parse};
use std::time::Duration;

const DIFF_ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn read(text: &str) -> ImageConfig {
    parse(text.replace("DIFF_ID", DIFF_ID).as_bytes()).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

/// What a container would be made of: `entrypoint | command | environment | user | folder | signal | ports | volumes`.
fn check(text: &str, expect: &str) {
    let config = read(text);
    assert_eq!(config.diff_ids.len(), text.matches("DIFF_ID").count());
    let shown = config.config.config().as_ref().map_or_else(String::new, |config| {
        let list = |list: &Option<Vec<String>>| list.as_deref().unwrap_or_default().join(",");
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            list(config.entrypoint()),
            list(config.cmd()),
            list(config.env()),
            text(config.user()),
            text(config.working_dir()),
            text(config.stop_signal()),
            list(config.exposed_ports()),
            list(config.volumes()),
        ]
        .join(" | ")
    });
    assert_eq!(shown, expect, "{text}");
}

fn health(config: &str) -> Option<Healthcheck> {
    read(&format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":["DIFF_ID"]}}}}"#
    ))
    .healthcheck
}

#[test]
fn docker_writes_nulls_and_its_own_fields() {
    check(
        r#"{"architecture":"amd64","config":{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,
        "AttachStderr":false,"ExposedPorts":{"8080/tcp":{},"53/udp":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,
        "Env":["PATH=/usr/bin:/bin"],"Cmd":null,"Image":"sha256:e1","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,
        "Labels":null},"container":"c0","container_config":{"Hostname":"c0","Cmd":["/bin/sh","-c","\u0023(nop) "]},
        "created":"2023-05-04T17:37:03.872958712Z","docker_version":"20.10.23","history":[{"created":"2023-05-04T17:37:03Z",
        "created_by":"/bin/sh -c #(nop)","empty_layer":true}],"os":"linux","rootfs":{"type":"layers","diff_ids":["DIFF_ID"]}}"#,
        " |  | PATH=/usr/bin:/bin |  |  |  | 53/udp,8080/tcp | ",
    );
    check(
        r#"{"architecture":"amd64","config":{"Cmd":"nginx","Entrypoint":"/init","Shell":"/bin/bash","Volumes":{"/data":null,"/a":{}},
        "Labels":{"empty":null},"StopSignal":"SIGQUIT"},"history":null,"os":"","rootfs":{"type":"layers","diff_ids":["DIFF_ID"]}}"#,
        "/init | nginx |  |  |  | SIGQUIT |  | /a,/data",
    );
    check(r#"{"architecture":"amd64","config":null,"rootfs":{"type":"layers","diff_ids":null}}"#, "");
}

#[test]
fn buildkit_names_variants_and_versions() {
    let text = r#"{"architecture":"arm64","variant":"v8","os":"linux","os.version":"","os.features":null,"config":{"Env":["A=b"],
        "Cmd":["sh"],"ArgsEscaped":true,"OnBuild":null},"created":"2024-01-01T00:00:00Z","history":[{"created_by":"RUN x # buildkit",
        "comment":"buildkit.dockerfile.v0"}],"rootfs":{"type":"layers","diff_ids":["DIFF_ID","DIFF_ID"]},
        "moby.buildkit.cache.v0":null}"#;
    check(text, " | sh | A=b |  |  |  |  | ");
    assert_eq!(read(text).config.variant().as_deref(), Some("v8"));
}

#[test]
fn podman_and_buildah_leave_out_what_is_empty() {
    check(
        r#"{"created":"2024-02-03T04:05:06.789Z","author":"someone","architecture":"amd64","os":"linux","config":{"User":"1000:1000",
        "Env":["A=b"],"Entrypoint":["/app"],"WorkingDir":"/srv","Labels":{"io.buildah.version":"1.33.5"},"StopSignal":"15"},
        "rootfs":{"type":"layers","diff_ids":["DIFF_ID"]},"history":[{"created":"2024-02-03T04:05:06Z"}]}"#,
        "/app |  | A=b | 1000:1000 | /srv | 15 |  | ",
    );
}

#[test]
fn kaniko_ko_bazel_and_nix_have_no_history_or_odd_times() {
    check(
        r#"{"architecture":"amd64","author":"kaniko","created":"0001-01-01T00:00:00Z","history":[{"author":"kaniko",
        "created":"0001-01-01T00:00:00Z","created_by":"COPY . /"}],"os":"linux","rootfs":{"type":"layers","diff_ids":["DIFF_ID"]},
        "config":{"Entrypoint":["/a"],"Env":["PATH=/bin","SSL_CERT_DIR=/kaniko/ssl/certs"]}}"#,
        "/a |  | PATH=/bin,SSL_CERT_DIR=/kaniko/ssl/certs |  |  |  |  | ",
    );
    check(
        r#"{"architecture":"amd64","author":"github.com/ko-build/ko","created":"1970-01-01T00:00:00Z","history":[],"os":"linux",
        "rootfs":{"type":"layers","diff_ids":["DIFF_ID"]},"config":{"Entrypoint":["/ko-app/app"],"Env":["KO_DATA_PATH=/var/run/ko"],
        "User":"65532"}}"#,
        "/ko-app/app |  | KO_DATA_PATH=/var/run/ko | 65532 |  |  |  | ",
    );
    check(
        r#"{"architecture":"amd64","author":"Bazel","config":{"Entrypoint":["/app/run"],"User":"0","Env":[],"Cmd":[]},
        "created":"1970-01-01T00:00:00Z","os":"linux","rootfs":{"diff_ids":["DIFF_ID"],"type":"layers"}}"#,
        "/app/run |  |  | 0 |  |  |  | ",
    );
    check(
        r#"{"created":"1970-01-01T00:00:01+00:00","architecture":"amd64","os":"linux","config":{"Cmd":["/nix/store/x/bin/hello"]},
        "rootfs":{"diff_ids":["DIFF_ID"],"type":"layers"},"history":[{"created":"1970-01-01T00:00:01+00:00","comment":"store paths: []"}]}"#,
        " | /nix/store/x/bin/hello |  |  |  |  |  | ",
    );
}

#[test]
fn health_checks_are_dockers() {
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let plain = Healthcheck {
        command: command(&["/check", "-q"]),
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    };
    assert_eq!(health(r#"{"Healthcheck":{"Test":["CMD","/check","-q"]}}"#), Some(plain.clone()));
    assert_eq!(
        health(r#"{"Healthcheck":{"Test":["CMD","/check","-q"],"Interval":0,"Retries":0,"Timeout":-1}}"#),
        Some(plain.clone())
    );
    let full = r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f localhost || exit 1"],"Interval":30000000000,"Timeout":1500000000,
        "StartPeriod":60000000000,"StartInterval":5000000000,"Retries":3}}"#;
    let expect = Healthcheck {
        command: command(&["/bin/sh", "-c", "curl -f localhost || exit 1"]),
        interval: Some(Duration::from_secs(30)),
        timeout: Some(Duration::from_millis(1500)),
        start_period: Some(Duration::from_secs(60)),
        start_interval: Some(Duration::from_secs(5)),
        retries: Some(3),
    };
    assert_eq!(health(full), Some(expect));
    let in_bash = r#"{"Shell":["/bin/bash","-o","pipefail","-c"],"Healthcheck":{"Test":["CMD-SHELL","a | b"]}}"#;
    assert_eq!(health(in_bash).unwrap().command, ["/bin/bash", "-o", "pipefail", "-c", "a | b"]);
    for none in [
        "{}",
        "null",
        r#"{"Healthcheck":null}"#,
        r#"{"Healthcheck":{}}"#,
        r#"{"Healthcheck":{"Test":null}}"#,
        r#"{"Healthcheck":{"Test":[]}}"#,
        r#"{"Healthcheck":{"Test":["NONE"]}}"#,
        r#"{"Healthcheck":{"Test":["CMD"]}}"#,
        r#"{"Healthcheck":{"Test":["CMD-SHELL"]}}"#,
    ] {
        assert_eq!(health(none), None, "{none}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |text: &str, expect: &str| {
        let problem = parse(text.as_bytes()).expect_err(text);
        assert!(problem.contains(expect), "{text}: {problem}");
    };
    refused("", "its config is malformed: EOF");
    refused("[]", "its config is malformed");
    refused(r#"{"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#, "missing field `architecture`");
    refused(r#"{"architecture":"amd64","rootfs":{"diff_ids":["md5:x"]}}"#, "its config has a bad diff id");
    refused(r#"{"architecture":"amd64","config":{"Env":{"A":"b"}},"rootfs":{}}"#, "its config is malformed: invalid type: map");
    let many = vec![format!("\"{DIFF_ID}\""); 500].join(",");
    refused(&format!(r#"{{"architecture":"amd64","rootfs":{{"diff_ids":[{many}]}}}}"#), "its config names 500 layers");
}
