//! Documents: checked, compared, published, deleted.

use crate::bodies::{self, DOCUMENT};
use crate::fake::{Answer, Fake};
use crate::program::{run, run_alone};
use serde_json::Value;
use std::path::PathBuf;

/// A folder with these files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("write");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// Says to everything that it is published as revision 4, or would be.
fn publisher(changed: bool) -> Fake {
    Fake::start(move |request, _| {
        let name = request.line.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let published = (changed && request.line.starts_with("PUT")).then_some(4);
        Answer::json(&bodies::diff(&name, Some(3), published, changed))
    })
}

#[test]
fn good_documents_pass() {
    let folder = Folder::new(&[("web.toml", DOCUMENT), ("api.toml", DOCUMENT), (".api.toml.swp", "x"), ("notes.md", "x")]);
    let outcome = run_alone(&["check", &folder.path("web.toml")], &[]).code(0).says(&["the document is good"]);
    assert_eq!(outcome.stdout, "");
    run_alone(&["check", &folder.path("")], &[]).code(0).says(&["all 2 documents are good"]);
}

#[test]
fn every_mistake_of_every_file_is_shown() {
    let folder = Folder::new(&[("web.toml", "imag = \"x\"\nhosts = []\n"), ("api.toml", "image = 1\nhosts = [\"*\"]\n")]);
    let (web, api) = (folder.path("web.toml"), folder.path("api.toml"));
    let outcome = run_alone(&["check", &web, &api], &[]).code(1).says(&["2 of 2 documents are bad"]);
    for word in ["did you mean `image`?", "no-hosts", "wrong-type", &web, &api] {
        assert!(outcome.stdout.contains(word), "{word:?} is not in:\n{}", outcome.stdout);
    }
    let views: Value = serde_json::from_str(&run_alone(&["check", &web, "-o", "json"], &[]).code(1).stdout).expect("JSON");
    assert_eq!(views[0]["valid"], false);
    let mistakes = views[0]["mistakes"].as_array().expect("mistakes");
    let unknown = mistakes.iter().find(|mistake| mistake["rule"] == "unknown-key").expect("the unknown key");
    assert_eq!((&unknown["line"], &unknown["column"]), (&1.into(), &1.into()));
}

#[test]
fn files_that_cannot_be_documents_are_refused() {
    let folder =
        Folder::new(&[("Web.toml", DOCUMENT), ("web.txt", DOCUMENT), ("web.toml", DOCUMENT), ("big.toml", &"#".repeat(70_000))]);
    std::fs::write(folder.path("latin.toml"), b"image = \"\xe4\"\n").expect("write");
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    let other = Folder::new(&[("web.toml", DOCUMENT)]);
    let check = |paths: &[&str], words: &[&str]| {
        run_alone(&[&["check"], paths].concat(), &[]).code(1).says(words);
    };
    check(&[&folder.path("Web.toml")], &["names no workload", "lower case", "hint: a document is called WORKLOAD.toml"]);
    check(&[&folder.path("web.txt")], &["is not named as a document", "hint: a document is called WORKLOAD.toml"]);
    check(&[&folder.path("big.toml")], &["is larger than 65536 bytes", "hint: keep data in the image"]);
    check(&[&folder.path("latin.toml")], &["is not UTF-8", "hint: save it as UTF-8"]);
    check(&[&folder.path("gone.toml")], &["cannot read", "No such file"]);
    check(&[&folder.path("empty")], &["holds no documents"]);
    check(&[&folder.path("web.toml"), &other.path("web.toml")], &["are both the document of web"]);
    // Naming one file twice is no contradiction.
    run_alone(&["check", &folder.path("web.toml"), &folder.path("web.toml")], &[]).code(0);
}

#[test]
fn diff_tells_changes_by_its_exit_code() {
    let folder = Folder::new(&[("web.toml", DOCUMENT)]);
    let web = folder.path("web.toml");
    let expect = "\
web: would follow revision 3
  ~ image  registry.lan/shop/web:1 -> registry.lan/shop/web:2
  replaces on web-1, web-2
";
    let fake = publisher(true);
    assert_eq!(run(&fake, &["diff", &web]).code(2).says(&["1 workload would change"]).stdout, expect);
    let request = &fake.requests()[0];
    assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /v1/diff/web", DOCUMENT));
    let views: Value = serde_json::from_str(&run(&fake, &["diff", &web, "-o", "json"]).code(2).stdout).expect("JSON");
    assert_eq!(views[0]["changes"][0]["key"], "image");
    let outcome = run(&publisher(false), &["diff", &web]).code(0).says(&["nothing would change"]);
    assert_eq!(outcome.stdout, "web: no change, stays at revision 3\n");
}

#[test]
fn nothing_is_sent_of_a_bad_set() {
    let folder = Folder::new(&[("api.toml", "image = 1\n"), ("web.toml", DOCUMENT)]);
    for command in ["diff", "apply"] {
        let fake = publisher(true);
        run(&fake, &[command, &folder.path("")]).code(1).says(&["error[wrong-type]", "1 file cannot be used; nothing was sent"]);
        assert_eq!(fake.lines(), Vec::<String>::new());
    }
}

#[test]
fn apply_publishes() {
    let folder = Folder::new(&[("api.toml", DOCUMENT), ("web.toml", DOCUMENT)]);
    let fake = publisher(true);
    let expect = "api: revision 4; replaces on web-1, web-2\nweb: revision 4; replaces on web-1, web-2\n";
    assert_eq!(run(&fake, &["apply", &folder.path("")]).code(0).stdout, expect);
    assert_eq!(fake.lines(), ["PUT /v1/documents/api", "PUT /v1/documents/web"]);
    assert_eq!(fake.requests()[0].body, DOCUMENT);
    let fake = publisher(false);
    let outcome = run(&fake, &["apply", &folder.path("web.toml"), "--take-over"]).code(0);
    assert_eq!(outcome.stdout, "web: unchanged, revision 3\n");
    assert_eq!(fake.lines(), ["PUT /v1/documents/web?take_over=true"]);
}

#[test]
fn apply_says_what_waits() {
    let folder = Folder::new(&[("web.toml", DOCUMENT)]);
    let mut waiting = bodies::diff("web", None, None, true);
    waiting["reasons"] = serde_json::json!([
        { "code": "image_unresolved", "error": "registry.lan cannot be reached", "retry_at": "2026-11-22T14:00:00Z" }
    ]);
    let fake = Fake::start(move |_, _| Answer::Whole { status: 202, headers: String::new(), body: waiting.to_string() });
    let outcome = run(&fake, &["apply", &folder.path("web.toml")]).code(0);
    let outcome = outcome.says(&["warning: web: not published, registry.lan cannot be reached"]);
    assert_eq!(outcome.stdout, "web: accepted, not yet published\n");
}

#[test]
fn apply_goes_on_after_a_refusal_and_fails_at_the_end() {
    let folder = Folder::new(&[("api.toml", DOCUMENT), ("web.toml", DOCUMENT)]);
    let conflict = || Answer::error(409, &bodies::error("conflict", "web belongs to folder:web.toml", Some("pass --take-over")));
    let fake = Fake::start(move |request, _| match request.line.contains("/api") {
        true => conflict(),
        false => Answer::json(&bodies::diff("web", None, Some(1), true)),
    });
    let outcome = run(&fake, &["apply", &folder.path("")]).code(1);
    let outcome =
        outcome.says(&["api.toml: cannot publish api: web belongs to folder:web.toml [conflict]", "hint: pass --take-over"]);
    assert_eq!(outcome.stdout, "web: revision 1; replaces on web-1, web-2\n");
    // A bad token concerns all of them, and is said once.
    let fake = Fake::always(Answer::error(401, &bodies::error("unauthorized", "no such token", None)));
    run(&fake, &["apply", &folder.path("")]).code(1);
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn the_coordinator_s_diagnostics_are_shown() {
    let folder = Folder::new(&[("web.toml", DOCUMENT)]);
    let mut body = bodies::error("invalid_document", "the document of web has a mistake", Some("upgrade the agents"));
    body["detail"] = "error[unknown-key]: unknown key `later`\n --> web.toml:1:1".into();
    let fake = Fake::always(Answer::error(422, &body));
    let words = ["error[unknown-key]", "has a mistake [invalid_document]", "hint: upgrade the agents"];
    run(&fake, &["diff", &folder.path("web.toml")]).code(1).says(&words);
    run(&fake, &["apply", &folder.path("web.toml")]).code(1).says(&words);
}

#[test]
fn delete_deletes() {
    let fake = Fake::always(Answer::json(&serde_json::json!({
        "name": "web", "current": 3, "published": 4, "changes": [], "starts_on": [], "replaces_on": [], "stops_on": ["a"],
    })));
    assert_eq!(run(&fake, &["delete", "web", "--take-over"]).code(0).stdout, "web: deleted; stops on a\n");
    assert_eq!(fake.lines(), ["DELETE /v1/documents/web?take_over=true"]);
}

#[test]
fn completions_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run_alone(&["completions", shell], &[]).code(0).stdout.contains("coordctl"), "{shell}");
    }
}
