//! Archives over the API, as curl sends them.

use super::bench::{Answer, Bench};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use coord_shared::names::Digest;
use coord_shared::wire::{DeploymentView, ImageMade};
use coord_tar::{END_BYTES, Entry, padding, write_header};

const RECIPE: &str = "entrypoint = [\"/app/shop\"]\nplatform = \"linux/amd64\"\n";
const DOCUMENT: &str = "# the shop\nimage = \"anything:1\"   # comes with each deployment\nhosts = [\"*\"]\n";

fn archive(path: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    write_header(&mut tar, &Entry { path: path.into(), mode: 0o755, size: 4, ..Entry::default() }).unwrap();
    tar.extend_from_slice(b"shop");
    tar.resize(tar.len() + padding(4) + END_BYTES, 0);
    tar
}

/// Sends a form of these fields; that of the archive has a file.
async fn send(bench: &Bench, path: &str, fields: &[(&str, &[u8])]) -> Answer {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if matches!(*name, "archive" | "recipe") { "; filename=\"f\"" } else { "" };
        body.extend_from_slice(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--x--\r\n");
    bench
        .request("POST", path)
        .header(CONTENT_TYPE.as_str(), "multipart/form-data; boundary=x")
        .header(AUTHORIZATION.as_str(), &format!("Bearer {}", bench.admin))
        .body_bytes(body)
        .await
}

async fn check_refused(bench: &Bench, path: &str, fields: &[(&str, &[u8])], status: u16, code: &str, expect: &str) {
    let error = send(bench, path, fields).await.is_error(status, code);
    let told = format!("{} {}", error.message, error.detail.unwrap_or_default());
    assert!(told.contains(expect), "{told}");
}

#[tokio::test]
async fn an_archive_becomes_an_image_and_the_same_one_again() {
    let bench = Bench::new().await;
    let tar = archive("shop");
    let fields = [("recipe", RECIPE.as_bytes()), ("archive", &tar), ("repository", b"team/shop"), ("tag", b"1.2"), ("tag", b"1")];
    let first: ImageMade = send(&bench, "/v1/images", &fields).await.is(200).json();
    assert_eq!(first.tags, ["1.2", "1"]);
    let again: ImageMade = send(&bench, "/v1/images", &fields).await.is(200).json();
    assert_eq!(first, again);
    let dated = [&fields[..], &[("at", b"1700000000")]].concat();
    let dated: ImageMade = send(&bench, "/v1/images", &dated).await.is(200).json();
    assert_ne!(dated.digest, first.digest);
    bench.send("POST", "/v1/images", None, "").await.is(401);
}

#[tokio::test]
async fn what_cannot_become_an_image_is_told_with_its_cure() {
    let bench = Bench::new().await;
    let tar = archive("shop");
    let recipe = ("recipe", RECIPE.as_bytes());
    let whole = [recipe, ("archive", &tar[..]), ("repository", b"shop")];
    let path = "/v1/images";
    check_refused(&bench, path, &whole[..2], 400, "bad_request", "no repository in the form").await;
    check_refused(&bench, path, &whole[1..], 400, "bad_request", "no recipe in the form").await;
    check_refused(&bench, path, &[recipe, whole[2]], 400, "bad_request", "no archive in the form").await;
    let odd = [&whole[..], &[("repo", b"x")]].concat();
    check_refused(&bench, path, &odd, 400, "bad_request", "an unknown field \"repo\"").await;
    let twice = [&whole[..], &[whole[2]]].concat();
    check_refused(&bench, path, &twice, 400, "bad_request", "the field \"repository\" twice").await;
    let bad = [("recipe", &b"entrypont = 1\n"[..]), whole[1], whole[2]];
    check_refused(&bench, path, &bad, 422, "invalid_recipe", "entrypoint").await;
    let hostile = archive("../../etc/cron.d/x");
    let bad = [recipe, ("archive", &hostile[..]), whole[2]];
    check_refused(&bench, path, &bad, 422, "invalid_archive", "has \"..\" in its path").await;
    let bad = [recipe, ("archive", &b"#!/bin/sh"[..]), whole[2]];
    check_refused(&bench, path, &bad, 422, "invalid_archive", "pack it as tar.gz, tar.zst or zip").await;
    let bad = [&whole[..], &[("at", b"yesterday")]].concat();
    check_refused(&bench, path, &bad, 400, "bad_request", "\"yesterday\" is no time").await;
    let bad = [("recipe", &b"base = \"coord.internal/gone\"\n"[..]), whole[1], whole[2]];
    check_refused(&bench, path, &bad, 422, "invalid_base", "the image centre has no such image").await;
    let left: Vec<_> = std::fs::read_dir(bench.app.assembler.as_ref().unwrap().work_dir()).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(".tmp")), "{left:?}");
}

#[tokio::test]
async fn a_deployment_publishes_the_document_with_the_new_image() {
    let bench = Bench::new().await;
    let tar = archive("shop");
    let commit = "a1".repeat(20);
    let fields = [
        ("archive", &tar[..]),
        ("recipe", RECIPE.as_bytes()),
        ("repository", b"shop"),
        ("tag", b"v1"),
        ("document", DOCUMENT.as_bytes()),
        ("workload", b"web"),
        ("commit", commit.as_bytes()),
    ];
    let made: DeploymentView = send(&bench, "/v1/deployments", &fields).await.is(200).json();
    assert_eq!(made.document.published.map(|revision| revision.0), Some(1));
    let text = bench.admin("GET", "/v1/documents/web", "").await.is(200).text();
    let image = format!("\"coord.internal/shop:v1@{}\"", made.image.digest);
    assert_eq!(text, DOCUMENT.replace("\"anything:1\"", &image));
    let again: DeploymentView = send(&bench, "/v1/deployments", &fields).await.is(200).json();
    assert_eq!((again.document.published, again.image), (None, made.image));
}

#[tokio::test]
async fn nothing_is_made_for_a_document_that_cannot_be_published() {
    let bench = Bench::new().await;
    let tar = archive("shop");
    let fields = |document: &'static str| {
        vec![
            ("archive", tar.clone()),
            ("recipe", RECIPE.as_bytes().to_vec()),
            ("repository", b"shop".to_vec()),
            ("document", document.as_bytes().to_vec()),
            ("workload", b"web".to_vec()),
        ]
    };
    async fn refused(bench: &Bench, fields: &[(&str, Vec<u8>)], status: u16, code: &str, expect: &str) {
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (*name, &value[..])).collect();
        check_refused(bench, "/v1/deployments", &fields, status, code, expect).await;
        let base = [("recipe", &b"base = \"coord.internal/shop\"\n"[..]), fields[0], ("repository", b"other")];
        check_refused(bench, "/v1/images", &base, 422, "invalid_base", "the image centre has no such image").await;
    }
    refused(&bench, &fields("image = \"x\"\nhots = [\"*\"]\n"), 422, "invalid_document", "hosts").await;
    refused(&bench, &fields("image = "), 422, "invalid_document", "").await;
    refused(&bench, &fields(DOCUMENT)[..4], 400, "bad_request", "no workload in the form").await;
    bench.publish_from_folder("web", "image = \"r.lan/web:1\"\nhosts = [\"*\"]\n").await;
    refused(&bench, &fields(DOCUMENT), 409, "conflict", "workload web belongs to folder:web.toml").await;
    assert_eq!(Digest::of(b"one"), bench.app.publisher.standing(&"web".parse().unwrap()).await.unwrap().last.unwrap().digest);
    let mut taken = fields(DOCUMENT);
    taken.push(("take_over", b"true".to_vec()));
    let taken: Vec<(&str, &[u8])> = taken.iter().map(|(name, value)| (*name, &value[..])).collect();
    send(&bench, "/v1/deployments", &taken).await.is(200);
}
