//! Webhooks and secrets over the API: who gets an answer, and that nobody learns more than he should.

use super::bench::{Answer, Bench};
use super::line::{Line, SHOP};
use crate::webhook::signature;
use coord_shared::wire::{PipelinesView, SecretsView};

const PUSH: &str = r#"{"ref":"refs/heads/main"}"#;

fn shop() -> String {
    let trigger = "[trigger]\nwebhook = { secret = \"hook\" }\n";
    let source = "[source]\ncredentials = \"git-token\"\n";
    let secrets = "steps = [\"cargo build\"]\nsecrets = { TOKEN = \"build-token\" }";
    SHOP.replace("[source]\n", source).replace("steps = [\"cargo build\"]", secrets) + trigger
}

async fn post(bench: &Bench, pipeline: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let path = format!("/v1/pipelines/{pipeline}/webhook");
    let request = headers.iter().fold(bench.request("POST", &path), |request, (name, value)| request.header(name, value));
    request.body(body).await
}

fn signed(secret: &str, body: &str) -> String {
    format!("sha256={}", signature(secret, body.as_bytes()))
}

#[tokio::test]
async fn a_signed_push_causes_a_look() {
    let line = Line::new().await;
    let bench = &line.bench;
    bench.secret("hook", "sesame\n");
    bench.admin("PUT", "/v1/pipelines/shop", &shop()).await.is(200);
    bench.settled().await;
    let before = line.state().await.watches[0].asked;
    let github = signed("sesame", PUSH);
    let answer = post(bench, "shop", &[("x-hub-signature-256", &github), ("x-github-event", "push")], PUSH).await.is(202);
    assert_eq!(answer.text(), r#"{"outcome":"looking"}"#);
    bench.settled().await;
    assert_eq!(line.state().await.watches[0].asked, before + 1);
    post(bench, "shop", &[("x-coord-token", "sesame")], "").await.is(202);
    post(bench, "shop", &[("authorization", "Bearer sesame")], "").await.is(202);
    bench.settled().await;
    assert_eq!(line.state().await.watches[0].asked, before + 3);
    // What is about something else changes nothing.
    let dev = r#"{"ref":"refs/heads/dev"}"#;
    let answer = post(bench, "shop", &[("x-gitea-signature", &signature("sesame", dev.as_bytes()))], dev).await.is(200);
    assert!(answer.text().contains("does not build refs/heads/dev"), "{}", answer.text());
    let ping = post(bench, "shop", &[("x-hub-signature-256", &signed("sesame", "{}")), ("x-github-event", "ping")], "{}").await;
    assert_eq!(ping.is(200).text(), r#"{"outcome":"pong"}"#);
    bench.settled().await;
    assert_eq!(line.state().await.watches[0].asked, before + 3);
}

#[tokio::test]
async fn who_does_not_know_the_secret_learns_nothing() {
    let line = Line::new().await;
    let bench = &line.bench;
    bench.secret("hook", "sesame");
    bench.admin("PUT", "/v1/pipelines/shop", &shop()).await.is(200);
    bench.admin("PUT", "/v1/pipelines/plain", &SHOP.replace("deploy/web", "deploy/plain")).await.is(200);
    bench.settled().await;
    let before = line.state().await.watches[0].asked;
    let wrong = signed("other", PUSH);
    let empty = signed("", PUSH);
    let body = |answer: Answer| answer.is_error(403, "forbidden");
    let expect = body(post(bench, "shop", &[("x-hub-signature-256", &wrong)], PUSH).await);
    for pipeline in ["shop", "plain", "none", "NO%20NAME"] {
        let attempts =
            [&[][..], &[("x-hub-signature-256", &*wrong)], &[("x-hub-signature-256", &*empty)], &[("x-coord-token", "")]];
        for headers in attempts {
            assert_eq!(body(post(bench, pipeline, headers, PUSH).await), expect, "{pipeline} {headers:?}");
        }
    }
    // An admin's token is no webhook's secret.
    let admin = format!("Bearer {}", bench.admin);
    body(post(bench, "shop", &[("authorization", &admin)], PUSH).await);
    post(bench, "shop", &[], &"x".repeat(1024 * 1024 + 1)).await.is_error(413, "too_large");
    bench.settled().await;
    assert_eq!(line.state().await.watches[0].asked, before);
}

#[tokio::test]
async fn a_webhook_without_its_secret_is_a_problem_that_is_shown() {
    let line = Line::new().await;
    let bench = &line.bench;
    bench.admin("PUT", "/v1/pipelines/shop", &shop()).await.is(200);
    post(bench, "shop", &[("x-coord-token", "sesame")], "").await.is_error(403, "forbidden");
    let problems = bench.admin("GET", "/v1/pipelines", "").await.is(200).json::<PipelinesView>().problems;
    assert!(problems[0].summary.contains("there is no secret hook; write it into"), "{problems:?}");
    bench.secret("hook", "sesame");
    post(bench, "shop", &[("x-coord-token", "sesame")], "").await.is(202);
    assert_eq!(bench.admin("GET", "/v1/pipelines", "").await.is(200).json::<PipelinesView>().problems, []);
}

#[tokio::test]
async fn a_host_has_the_secrets_of_what_it_does() {
    let mut line = Line::new().await;
    for (name, text) in [("git-token", "alice:sesame"), ("build-token", "open"), ("hook", "sesame"), ("other", "x")] {
        line.bench.secret(name, text);
    }
    let ask = async |line: &Line, host: &str, name: &str| {
        let token = if host == "web" { &line.web } else { &line.builder };
        line.bench.send("GET", &format!("/v1/hosts/{host}/secrets/{name}"), Some(token), "").await
    };
    ask(&line, "b-1", "git-token").await.is_error(403, "forbidden");
    line.bench.admin("PUT", "/v1/pipelines/shop", &shop()).await.is(200);
    line.until_watched().await;
    // It looks: that takes what opens the repository, and nothing else.
    assert_eq!(ask(&line, "b-1", "git-token").await.is(200).text(), "alice:sesame");
    for name in ["build-token", "hook", "other"] {
        ask(&line, "b-1", name).await.is_error(403, "forbidden");
    }
    line.push(1).await;
    line.until_orders(1).await;
    assert_eq!(ask(&line, "b-1", "build-token").await.is(200).text(), "open");
    for name in ["hook", "other"] {
        ask(&line, "b-1", name).await.is_error(403, "forbidden");
    }
    ask(&line, "web", "git-token").await.is_error(403, "forbidden");
    let path = "/v1/hosts/b-1/secrets/git-token";
    line.bench.admin("GET", path, "").await.is_error(403, "forbidden");
    line.bench.send("GET", path, Some(&line.web), "").await.is_error(403, "forbidden");
    line.bench.send("GET", "/v1/hosts/b-1/secrets/..%2Fx", Some(&line.builder), "").await.is_error(400, "bad_request");
    let names = line.bench.admin("GET", "/v1/secrets", "").await.is(200).json::<SecretsView>().secrets;
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["build-token", "git-token", "hook", "other"]);
    line.bench.send("GET", "/v1/secrets", Some(&line.builder), "").await.is_error(403, "forbidden");
    // The pipeline is gone, and with it the reason.
    line.bench.admin("DELETE", "/v1/pipelines/shop", "").await.is(204);
    line.until_cancelled().await;
    line.phase("shop.1", coord_shared::wire::BuildPhase::Cancelled, |_| {}).await;
    line.until_orders(0).await;
    ask(&line, "b-1", "git-token").await.is_error(403, "forbidden");
}
