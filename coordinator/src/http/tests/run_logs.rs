//! Logs of runs: kept, limited, joined over builders, and followed.

use super::line::Line;
use coord_shared::wire::{BuildPhase, HostState, RunState};
use std::time::Duration;

const LOGS: &str = "/v1/pipelines/shop/runs/1/logs";

async fn building() -> Line {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line
}

fn line_of(text: &str) -> String {
    format!("{{\"time\":\"1970-01-01T00:00:00Z\",\"step\":\"build.0\",\"stream\":\"stdout\",\"line\":\"{text}\"}}\n")
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_kept_and_shown() {
    let mut line = building().await;
    let (one, two) = (line_of("one"), line_of("two"));
    line.log("shop.1", "0", one.as_bytes()).await.is(200);
    let again = line.log("shop.1", "0", one.as_bytes()).await;
    again.is_error(409, "wrong_offset");
    line = line.restarted().await;
    let offset = one.len().to_string();
    line.log("shop.1", &offset, two.as_bytes()).await.is(200);
    line.phase("shop.1", BuildPhase::Failed, |build| build.problem = Some("no".to_owned())).await;
    line.until(1, RunState::Failed).await;
    let shown = line.bench.admin("GET", LOGS, "").await.is(200).text();
    assert_eq!(shown, format!("{one}{two}"));
    let followed = line.bench.admin("GET", &format!("{LOGS}?follow=true"), "").await.is(200).text();
    let last = followed.strip_prefix(&shown).expect("the same and more");
    assert!(last.contains("\"stream\":\"coord\"") && last.contains("shop.1 is failed: no"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_limit_is_counted() {
    let mut line = building().await;
    let piece = line_of(&"x".repeat(1000)).repeat(3000);
    let mut offset = 0;
    for _ in 0..7 {
        line.log("shop.1", &offset.to_string(), piece.as_bytes()).await.is(200);
        offset += piece.len();
    }
    line = line.restarted().await;
    line.log("shop.1", "0", piece.as_bytes()).await.is_error(409, "wrong_offset");
    line.log("shop.1", &offset.to_string(), line_of("last").as_bytes()).await.is(200);
    line.phase("shop.1", BuildPhase::Failed, |_| {}).await;
    line.until(1, RunState::Failed).await;
    let shown = line.bench.admin("GET", LOGS, "").await.is(200).text();
    assert!(shown.len() < 17 * 1024 * 1024);
    let last = shown.lines().last().expect("a line");
    let kept = shown.lines().count() - 1;
    assert!(last.contains(&format!("{} more lines", 7 * 3000 + 1 - kept)), "{last}");
}

#[tokio::test(start_paused = true)]
async fn while_it_is_built_its_builder_is_asked() {
    let mut line = building().await;
    line.log("shop.1", "0", line_of("kept").as_bytes()).await.is(200);
    let request = line.bench.request("GET", &format!("{LOGS}?follow=true")).token(&line.bench.admin);
    let shown = tokio::spawn(async move { request.body("").await.is(200).text() });
    let id = loop {
        let text = line.bench.send("GET", "/v1/hosts/b-1/state", Some(&line.builder), "").await.is(200).text();
        let sessions = HostState::from_toml(&text).expect("a host state").sessions;
        if let Some(session) = sessions.into_iter().next() {
            assert!(session.run_logs.is_some_and(|asked| asked.follow && asked.run.to_string() == "shop.1"));
            break session.id;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let lines = format!("{}{}", line_of("kept"), line_of("live"));
    line.bench.send("POST", &format!("/v1/hosts/b-1/sessions/{id}"), Some(&line.builder), &lines).await.is(204);
    line.phase("shop.1", BuildPhase::Failed, |_| {}).await;
    let shown = shown.await.expect("does not panic");
    let lines: Vec<_> = shown.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[..2], [line_of("kept").trim_end(), line_of("live").trim_end()]);
    assert!(lines[2].contains("shop.1 is failed"), "{lines:?}");
}
