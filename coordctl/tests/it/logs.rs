//! Logs: whose lines, in which form, and what happens when the stream is cut.

use crate::bodies;
use crate::fake::{Answer, End, Fake, Request};
use crate::program::{finish, run, start};

fn line(host: &str, second: u32, stream: &str, message: &str) -> String {
    let line = serde_json::json!({
        "host": host, "instance": "web.0", "t": format!("2026-11-22T13:00:{second:02}.5Z"), "s": stream, "m": message,
    });
    format!("{line}\n")
}

fn is_status(request: &Request) -> bool {
    request.line == "GET /v1/status"
}

/// Instances on these hosts, and this answer for the logs.
fn writer(hosts: &'static [&'static str], logs: Answer) -> Fake {
    Fake::start(move |request, _| match is_status(request) {
        true => Answer::json(&bodies::status(&[bodies::workload("web", 1, true, hosts)])),
        false => logs.clone(),
    })
}

#[test]
fn one_instance_speaks_for_itself() {
    let chunks = vec![line("a", 1, "out", "first"), "\n".to_owned(), line("a", 2, "err", "second\ttab")];
    let fake = writer(&["a"], Answer::Stream { chunks, end: End::Proper });
    assert_eq!(run(&fake, &["logs", "web"]).code(0).stdout, "first\nsecond\ttab\n");
    assert_eq!(fake.lines()[1], "GET /v1/workloads/web/logs?tail=100&follow=false");
    let timed = run(&fake, &["logs", "web", "--timestamps", "--tail", "5", "--host", "a", "--index", "0"]).code(0).stdout;
    assert!(timed.starts_with("2026-11-22T13:00:01.5Z first\n"), "{timed}");
    assert_eq!(fake.lines()[3], "GET /v1/workloads/web/logs?tail=5&follow=false&host=a&index=0");
}

#[test]
fn several_instances_are_told_apart() {
    // Also where chunks end in the middle of lines and of characters' escapes.
    let text = line("a", 1, "out", "from a ü") + &line("host-b", 1, "out", "from b");
    let (head, tail) = text.split_at(37);
    let fake = writer(&["a", "host-b"], Answer::Stream { chunks: vec![head.to_owned(), tail.to_owned()], end: End::Proper });
    let expect = "web.0@a      | from a ü\nweb.0@host-b | from b\n";
    assert_eq!(run(&fake, &["logs", "web"]).code(0).stdout, expect);
    let json = run(&fake, &["logs", "web", "-o", "json"]).code(0).stdout;
    assert_eq!(json.lines().count(), 2);
    assert!(
        json.starts_with(r#"{"host":"a","instance":"web.0","t":"2026-11-22T13:00:01.5Z","s":"out","m":"from a ü"}"#),
        "{json}"
    );
}

#[test]
fn a_stream_that_is_cut_is_an_error_unless_followed() {
    let whole = line("a", 1, "out", "first");
    let fake = writer(&["a"], Answer::Stream { chunks: vec![whole.clone(), "{\"host\":".to_owned()], end: End::Cut });
    let outcome = run(&fake, &["logs", "web"]).code(1).says(&["cannot read the logs of web", "broke off"]);
    assert_eq!(outcome.stdout, "first\n");
    let half = writer(&["a"], Answer::Stream { chunks: vec![whole, "{\"host\":".to_owned()], end: End::Proper });
    run(&half, &["logs", "web"]).code(1).says(&["broke off in the middle of a line"]);
}

#[test]
fn following_goes_on_after_a_cut_without_a_line_twice() {
    let fake = Fake::start(|request, _| {
        let numbers: &[u32] = match request.line.as_str() {
            "GET /v1/status" => return Answer::json(&bodies::status(&[bodies::workload("web", 1, true, &["a"])])),
            "GET /v1/workloads/web/logs?tail=2&follow=true" => &[1, 2, 2, 3],
            _ => &[1, 2, 2, 3, 3, 4],
        };
        let chunks = numbers.iter().enumerate().map(|(at, second)| line("a", *second, "out", &format!("line {at}"))).collect();
        let end = if numbers.len() == 4 { End::Cut } else { End::Silence };
        Answer::Stream { chunks, end }
    });
    let mut following = start(&fake, &["logs", "web", "-f", "--tail", "2"]);
    let lines: Vec<String> = (0..6).map(|_| following.line()).collect();
    assert_eq!(lines, ["line 0", "line 1", "line 2", "line 3", "line 4", "line 5"]);
    assert_eq!(fake.lines()[2], "GET /v1/workloads/web/logs?tail=1000&follow=true");
    following.interrupt();
    let outcome = finish(following).says(&["warning: ", "connecting again"]);
    assert_eq!(outcome.stdout.lines().count(), 6);
}

#[test]
fn following_says_so_when_lines_may_be_missing() {
    let fake = Fake::start(|request, before| match before {
        _ if is_status(request) => Answer::json(&bodies::status(&[])),
        1 => Answer::Stream { chunks: vec![line("a", 1, "out", "before")], end: End::Cut },
        _ => Answer::Stream { chunks: vec![line("a", 9, "out", "after")], end: End::Silence },
    });
    let mut following = start(&fake, &["logs", "web", "-f"]);
    assert_eq!([following.line(), following.line()], ["before", "after"]);
    following.interrupt();
    finish(following).says(&["lines of web.0@a may be missing here"]);
}

#[test]
fn following_does_not_try_on_for_what_will_not_change() {
    let error = bodies::error("not_found", "workload web is not known", None);
    let fake = writer(&[], Answer::error(404, &error));
    run(&fake, &["logs", "web", "-f"]).code(1).says(&["cannot read the logs of web: workload web is not known"]);
    let offline = bodies::error("internal", "host a did not answer", Some("is its agent running?"));
    let fake = writer(&[], Answer::error(503, &offline));
    run(&fake, &["logs", "web", "-f"]).code(1).says(&["host a did not answer", "hint: is its agent running?"]);
}

#[test]
fn an_instance_whose_log_cannot_be_had_does_not_hide_the_others() {
    let error = "{\"host\":\"b\",\"instance\":\"web.0\",\"error\":\"host b is lost\"}\n".to_owned();
    let fake = writer(&["a", "b"], Answer::Stream { chunks: vec![error, line("a", 1, "out", "good")], end: End::Proper });
    let outcome = run(&fake, &["logs", "web"]).code(0).says(&["warning: no logs of web.0@b: host b is lost"]);
    assert_eq!(outcome.stdout, "web.0@a | good\n");
}

#[test]
fn garbage_is_said_and_bounded() {
    let chunks = vec!["<html>\n".to_owned(), line("a", 1, "out", "good")];
    let outcome = run(&writer(&["a"], Answer::Stream { chunks, end: End::Proper }), &["logs", "web"]).code(0);
    assert_eq!(outcome.says(&["skipped a line that is not a log line: <html>"]).stdout, "good\n");
    let endless = Answer::Stream { chunks: vec!["x".repeat(300 * 1024)], end: End::Silence };
    run(&writer(&["a"], endless), &["logs", "web"]).code(1).says(&["a line is longer than 262144 bytes"]);
}
