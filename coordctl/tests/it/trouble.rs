//! Everything that can go wrong between coordctl and a coordinator: each ends with exit code 1, the operation, and a cure.

use crate::bodies;
use crate::fake::{Answer, End, Fake};
use crate::program::{run, run_alone};
use std::net::TcpListener;

const TOKEN: (&str, &str) = ("COORD_TOKEN", "t");

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
    let url = format!("http://127.0.0.1:{port}");
    run_alone(&["status", "--url", &url], &[TOKEN]).code(1).says(&[
        "error: cannot read the status: no connection to the coordinator",
        &url,
        "Connection refused",
        "hint: is the coordinator running",
    ]);
}

#[test]
fn the_token_is_not_accepted() {
    let fake = Fake::always(Answer::error(401, &bodies::error("unauthorized", "no such token", None)));
    run(&fake, &["status"]).code(1).says(&["cannot read the status: no such token [unauthorized]", "hint: check the token"]);
    let hint = Some("use an admin token");
    let fake = Fake::always(Answer::error(403, &bodies::error("forbidden", "an agent's token", hint)));
    run(&fake, &["hosts"]).code(1).says(&["cannot list the hosts: an agent's token [forbidden]", "hint: use an admin token"]);
}

#[test]
fn the_object_is_not_there() {
    let fake = Fake::always(Answer::error(404, &bodies::error("not_found", "workload web has no history", None)));
    run(&fake, &["history", "web"]).code(1).says(&["cannot read the history of web: workload web has no history [not_found]"]);
    run(&fake, &["delete", "web"]).code(1).says(&["cannot delete web"]);
    run(&fake, &["hosts", "remove", "web-1"]).code(1).says(&["cannot remove host web-1", "hint: `coordctl hosts` shows"]);
    let fake = Fake::always(Answer::json(&bodies::status(&[])));
    run(&fake, &["status", "web"]).code(1).says(&["workload web is not published", "hint: `coordctl status` shows all"]);
}

#[test]
fn the_coordinator_fails() {
    let fake = Fake::always(Answer::error(500, &bodies::error("internal", "the store is full", None)));
    run(&fake, &["status"]).code(1).says(&["the store is full [internal]", "request id req-7"]);
}

#[test]
fn something_else_answers() {
    let check = |answer: Answer, word: &str| {
        let said = run(&Fake::always(answer), &["status"]).code(1);
        said.says(&["cannot read the status", "does not answer as a coordinator does", word, "hint: does something else listen"]);
    };
    check(Answer::text(200, "<html>hello</html>"), "expected value");
    check(Answer::text(200, "{}"), "missing field `now`");
    check(Answer::text(200, ""), "EOF while parsing");
    check(Answer::text(502, "<html>bad gateway</html>"), "status 502");
    check(Answer::text(404, "{\"error\":\"no such page\"}"), "status 404");
    let redirect = Answer::Whole { status: 302, headers: "location: http://127.0.0.1:1/\r\n".to_owned(), body: String::new() };
    check(redirect, "status 302");
}

#[test]
fn the_answer_is_cut() {
    let whole = bodies::status(&[]).to_string();
    let half = whole[..whole.len() / 2].to_owned();
    let fake = Fake::always(Answer::Stream { chunks: vec![half], end: End::Cut });
    run(&fake, &["status"]).code(1).says(&[
        "cannot read the status: the connection to",
        "broke off",
        "hint: did the coordinator stop",
    ]);
}

#[test]
fn the_answer_does_not_come() {
    for answer in [Answer::Silence, Answer::Drip, Answer::Stream { chunks: vec!["{".to_owned()], end: End::Silence }] {
        let fake = Fake::always(answer);
        run(&fake, &["status", "--request-timeout", "300ms"]).code(1).says(&[
            "cannot read the status: no whole answer",
            "within 300ms",
            "hint: is the coordinator overloaded",
        ]);
    }
}

#[test]
fn whoever_waits_long_is_told_for_what() {
    let fake = Fake::always(Answer::Silence);
    run(&fake, &["hosts", "--request-timeout", "1500ms"]).code(1).says(&["reading the hosts\n"]);
}

#[test]
fn the_secure_connection_fails() {
    let fake = Fake::always(Answer::Silence);
    let url = fake.url().replace("http://127.0.0.1", "https://localhost");
    // The commonest mistake: https for http.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let plain = format!("https://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut hello = [0; 16];
        let _ = connection.read(&mut hello);
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let mut rest = [0; 4096];
        while connection.read(&mut rest).is_ok_and(|read| read > 0) {}
    });
    run_alone(&["status", "--url", &plain], &[TOKEN])
        .code(1)
        .says(&["no secure connection to the coordinator", "hint: give the authority that signed"]);
    server.join().expect("the server");
    run_alone(&["status", "--url", &url, "--ca", "/does/not/exist"], &[TOKEN]).code(1).says(&["cannot read the certificates in"]);
    let dir = tempfile::tempdir().expect("a folder");
    let pem = dir.path().join("ca.pem");
    std::fs::write(&pem, "no certificate").expect("write");
    let pem = pem.to_str().expect("UTF-8");
    run_alone(&["status", "--url", &url, "--ca", pem], &[TOKEN]).code(1).says(&["holds no usable certificates", "hint: --ca"]);
}

#[test]
fn a_machine_without_authorities_can_still_speak_http() {
    let fake = Fake::always(Answer::json(&bodies::status(&[])));
    let bare = [TOKEN, ("SSL_CERT_FILE", "/does/not/exist"), ("SSL_CERT_DIR", "/does/not/exist")];
    run_alone(&["status", "--url", &fake.url()], &bare).code(0);
    run_alone(&["status", "--url", "https://127.0.0.1:1"], &bare)
        .code(1)
        .says(&["hint: are the system's CA certificates installed"]);
}

#[test]
fn no_settings_no_request() {
    run_alone(&["status"], &[]).code(1).says(&["no admin token is configured", "hint: set --token-file"]);
    run_alone(&["status", "--url", "http://coordinator.lan"], &[TOKEN]).code(1).says(&["readably", "hint: use https"]);
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = crate::program::command(home.path());
    let command = command.args(["completions", "zsh"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("start coordctl");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("an ended child");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
