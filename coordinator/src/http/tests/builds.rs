//! What builders send: in order, in pieces, within limits, and only of their own runs.

use super::bench::ARCHIVE_MAX_BYTES;
use super::line::Line;
use coord_shared::names::Digest;
use coord_shared::wire::RunState;

/// A line whose first run is being built.
async fn building() -> Line {
    let mut line = Line::new().await;
    line.put().await;
    line.push(1).await;
    line.until(1, RunState::Building).await;
    line
}

#[tokio::test(start_paused = true)]
async fn an_archive_comes_in_pieces_that_may_come_again() {
    let line = building().await;
    let digest = Digest::of(b"0123456789");
    line.piece("shop.1", "bytes */10", None, b"").await.is_error(409, "wrong_offset");
    line.piece("shop.1", "bytes 0-3/10", None, b"0123").await.is(200);
    line.piece("shop.1", "bytes 6-9/10", Some(&digest), b"6789").await.is_error(409, "wrong_offset");
    let asked = line.piece("shop.1", "bytes */10", None, b"").await;
    asked.is_error(409, "wrong_offset");
    assert!(asked.text().contains("\"offset\":4"), "{}", asked.text());
    line.piece("shop.1", "bytes 4-9/10", None, b"456789").await.is(200);
    let whole = line.piece("shop.1", "bytes */10", Some(&digest), b"").await.is(200);
    assert_eq!(whole.text(), "{\"offset\":10,\"complete\":true}");
    line.piece("shop.1", "bytes 0-3/10", None, b"0123").await.is(200);
    assert_eq!(std::fs::read(line.bench.dir.path().join("runs/shop/1/archive")).expect("is there"), b"0123456789");
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_is_not_what_was_announced_is_dropped() {
    let line = building().await;
    let other = Digest::of(b"other");
    line.piece("shop.1", "bytes 0-3/4", Some(&other), b"0123").await.is_error(422, "wrong_digest");
    let asked = line.piece("shop.1", "bytes */4", None, b"").await;
    assert!(asked.text().contains("\"offset\":0"), "{}", asked.text());
    line.piece_of("shop.1", b"0123").await.is(200);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_malformed_is_refused() {
    let line = building().await;
    let total = ARCHIVE_MAX_BYTES + 1;
    line.piece("shop.1", &format!("bytes 0-3/{total}"), None, b"0123").await.is_error(413, "too_large");
    line.piece("shop.1", "bytes 0-1/4", None, b"01234").await.is_error(400, "bad_request");
    for range in ["", "bytes", "0-1/2", "bytes 1-0/2", "bytes 0-2/2", "bytes 0-x/2", "bytes -1/2", "bytes 0-1/*"] {
        line.piece("shop.1", range, None, b"").await.is_error(400, "bad_request");
    }
    line.log("shop.1", "x", b"").await.is_error(400, "bad_request");
}

#[tokio::test(start_paused = true)]
async fn only_who_builds_a_run_may_send_of_it() {
    let mut line = building().await;
    line.piece("shop.2", "bytes 0-3/4", None, b"0123").await.is_error(404, "not_yours");
    line.piece("shop", "bytes 0-3/4", None, b"0123").await.is_error(400, "bad_request");
    let token = std::mem::replace(&mut line.builder, line.bench.add_host("b-2").await);
    let other = line.bench.request("PUT", "/v1/hosts/b-2/builds/shop.1/archive").token(&line.builder);
    other.header("content-range", "bytes 0-3/4").body("0123").await.is_error(404, "not_yours");
    line.builder = token;
    line.bench.admin("POST", "/v1/pipelines/shop/runs/1/cancel", "").await.is(200);
    line.phase("shop.1", coord_shared::wire::BuildPhase::Cancelled, |_| {}).await;
    line.until(1, RunState::Cancelled).await;
    line.piece("shop.1", "bytes 0-3/4", None, b"0123").await.is_error(404, "not_yours");
    line.log("shop.1", "0", b"{}\n").await.is(200);
}
