//! Webhooks: payloads of the usual servers, signed well and badly.

use super::*;
use std::collections::BTreeMap;

struct Map(BTreeMap<&'static str, String>);

impl Headers for Map {
    fn one(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn headers(list: &[(&'static str, &str)]) -> Map {
    Map(list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

#[test]
fn signatures_are_those_of_the_servers() {
    // GitHub's documentation, "Validating webhook deliveries", has this one.
    let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
    let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(signature(secret, body), hex);
    let signed = format!("sha256={hex}");
    let check = |list: &[(&'static str, &str)], expect: bool| {
        assert_eq!(is_authentic(&headers(list), body, secret), expect, "{list:?}");
    };
    check(&[("x-hub-signature-256", &signed)], true);
    check(&[("x-hub-signature", &signed)], true);
    check(&[("x-gitea-signature", hex)], true);
    check(&[("x-forgejo-signature", &hex.to_uppercase())], true);
    check(&[("x-hub-signature-256", hex)], false);
    check(&[("x-hub-signature-256", &signed.replace('7', "8"))], false);
    check(&[("x-hub-signature-256", &signed[..signed.len() - 2])], false);
    check(&[("x-hub-signature-256", "sha256=")], false);
    check(&[("x-hub-signature-256", &format!("sha256={}", "é".repeat(32)))], false);
    check(&[("x-hub-signature", "sha1=0123")], false);
    check(&[("x-gitlab-token", secret)], true);
    check(&[("x-coord-token", secret)], true);
    check(&[("authorization", &format!("Bearer {secret}"))], true);
    check(&[("authorization", &format!("bearer  {secret}"))], true);
    check(&[("authorization", &format!("Basic {secret}"))], false);
    check(&[("authorization", "éé")], false);
    check(&[("authorization", "Bea")], false);
    check(&[("x-gitlab-token", "")], false);
    check(&[("x-gitlab-token", "It's a Secret to Everybod")], false);
    check(&[], false);
    // Another body, the same signature.
    assert!(!is_authentic(&headers(&[("x-hub-signature-256", &signed)]), b"Hello, World?", secret));
}

fn pipeline(source: &str) -> Pipeline {
    let text = format!(
        "[source]\n{source}\n[build]\nimage = \"r.lan/rust:1\"\nsteps = [\"make\"]\n[package]\ninclude = [\"shop\"]\n\
         [image]\nrepository = \"shop\"\nentrypoint = [\"/shop\"]\n"
    );
    coord_shared::pipeline::parse(&text).unwrap_or_else(|e| panic!("{}", e.render("shop.toml", &text, false)))
}

#[test]
fn pushes_to_other_branches_are_no_reason_to_look() {
    let main = pipeline("git = \"https://git.lan/shop.git\"\nbranch = \"main\"");
    let default = pipeline("git = \"https://git.lan/shop.git\"");
    let tags = pipeline("git = \"https://git.lan/shop.git\"\ntags = \"v*\"");
    let svn = pipeline("svn = \"https://svn.lan/shop/trunk\"");
    let other = |reference: &str| Asked::Other(reference.to_owned());
    let check = |pipeline: &Pipeline, body: &str, expect: Asked| {
        assert_eq!(asked(&headers(&[]), body.as_bytes(), pipeline), expect, "{body}");
    };
    let (on_main, on_dev, on_tag) = (r#"{"ref":"refs/heads/main"}"#, r#"{"ref":"refs/heads/dev"}"#, r#"{"ref":"refs/tags/v1"}"#);
    check(&main, on_main, Asked::Look);
    check(&main, on_dev, other("refs/heads/dev"));
    check(&main, on_tag, other("refs/tags/v1"));
    check(&default, on_dev, Asked::Look);
    check(&default, on_tag, other("refs/tags/v1"));
    check(&tags, on_tag, Asked::Look);
    check(&tags, on_main, other("refs/heads/main"));
    check(&svn, on_dev, Asked::Look);
    // A branch named like the end of another one's name.
    check(&main, r#"{"ref":"refs/heads/x/main"}"#, other("refs/heads/x/main"));
    // Bitbucket's.
    let bitbucket =
        |kind: &str, name: &str| format!(r#"{{"push":{{"changes":[{{"new":{{"type":"{kind}","name":"{name}"}}}}]}}}}"#);
    check(&main, &bitbucket("branch", "main"), Asked::Look);
    check(&main, &bitbucket("branch", "dev"), other("refs/heads/dev"));
    check(&main, r#"{"push":{"changes":[{"new":null,"old":{"type":"branch","name":"dev"}}]}}"#, other("refs/heads/dev"));
    // What is not understood is a reason to look.
    for odd in ["", "no JSON", "{}", "[]", r#"{"ref":1}"#, r#"{"ref":"v1"}"#, r#"{"push":{"changes":[{}]}}"#] {
        check(&main, odd, Asked::Look);
    }
    let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
    assert_eq!(asked(&form, b"payload=%7B%7D", &main), Asked::Look);
    assert_eq!(asked(&headers(&[("x-github-event", "ping")]), on_dev.as_bytes(), &main), Asked::Ping);
    assert_eq!(asked(&headers(&[("x-event-key", "diagnostics:ping")]), b"{}", &main), Asked::Ping);
}
