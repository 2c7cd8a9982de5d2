//! What good pipelines mean.

use super::{LEAST, read};
use crate::document::Network;
use crate::pipeline::{Git, Include, NotifyTarget, Reference, SourceKind};
use crate::quantity::Span;

#[test]
fn the_smallest_pipeline_has_every_default() {
    let pipeline = read(LEAST);
    let git = Git { url: "https://git.lan/shop.git".to_owned(), reference: Reference::Branch(None), submodules: false };
    assert_eq!(pipeline.source.kind, SourceKind::Git(git));
    assert_eq!((pipeline.source.paths.len(), pipeline.source.credentials), (0, None));
    assert_eq!(pipeline.hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>(), ["builder=true"]);
    assert_eq!(
        (pipeline.trigger.poll, pipeline.trigger.webhook, pipeline.trigger.schedule),
        (Some(Span::seconds(60)), None, None)
    );
    assert_eq!((pipeline.timeout, pipeline.keep_runs), (Span::seconds(3600), 20));
    assert_eq!((pipeline.build, pipeline.test, pipeline.deploy), (None, None, None));
    assert_eq!(pipeline.package.include, [Include { path: "**".to_owned(), to: None }]);
    assert_eq!(pipeline.image.tags, ["latest"]);
    assert_eq!((pipeline.image.recipe.base, pipeline.image.recipe.target.as_str()), (None, "/app"));
    assert!(pipeline.on_failure.is_empty() && pipeline.on_success.is_empty());
}

#[test]
fn places_in_the_archive() {
    let check = |include: &str, path: &str, to: Option<&str>| {
        let pipeline = read(&format!("{LEAST}[package]\ninclude = [{include}]\n"));
        assert_eq!(pipeline.package.include, [Include { path: path.to_owned(), to: to.map(str::to_owned) }], "{include}");
    };
    check("\"./a//b/\"", "a/b", None);
    check("\".\"", "**", None);
    check("{ path = \"a\", to = \"./b\" }", "a", Some("b"));
    check("{ path = \"a\", to = \"b//\" }", "a", Some("b/"));
    check("{ path = \"a/**\", to = \"./\" }", "a/**", Some("."));
}

#[test]
fn a_whole_line() {
    let pipeline = read(
        r#"
hosts = ["build-*"]
timeout = "20m"
keep_runs = 5

[source]
git = "git@git.lan:team/shop.git"
tags = "v*"
submodules = true
paths = ["./shop//**"]
credentials = "git-shop"

[trigger]
poll = "never"
webhook = { secret = "shop-hook" }
schedule = "30 4 * * 1-5"

[build]
image = "registry.lan/rust:1.95"
steps = ["cargo build --release"]
cache = ["/usr/local/cargo/", "target"]
environment = { A = 1 }
secrets = { TOKEN = "npm" }
timeout = "10m"
[build.resources]
memory = "2GiB"

[test]
steps = ["cargo test --release"]
network = "none"
nested = { containers = 4, memory = "1GiB" }

[package]
include = ["target/release/shop", { path = "conf/prod.toml", to = "etc/shop.toml" }]
exclude = ["**/*.map"]

[image]
repository = "team/shop"
tags = []
base = "registry.lan/debian:12"
entrypoint = ["/app/shop"]
modes = [{ path = "bin/*", mode = "0755" }]
[image.healthcheck]
test = ["CMD", "/app/shop", "--check"]

[deploy]
document = "deploy/web.toml"

[notify]
on_failure = ["webhook:https://chat.lan/x", "email:ops@example.org"]
"#,
    );
    assert_eq!(pipeline.source.paths, ["shop/**"]);
    assert_eq!(pipeline.trigger.poll, None);
    assert_eq!(pipeline.trigger.webhook.expect("a webhook").secret.as_str(), "shop-hook");
    let build = pipeline.build.expect("a stage");
    assert_eq!(build.cache, ["/usr/local/cargo", "target"]);
    assert_eq!((build.network, build.timeout), (Network::Bridge, Span::seconds(600)));
    assert_eq!(build.secrets["TOKEN"].as_str(), "npm");
    assert_eq!(build.resources.memory.map(|memory| memory.to_string()).as_deref(), Some("2GiB"));
    let test = pipeline.test.expect("a stage");
    assert_eq!((test.image, test.network, test.timeout), (None, Network::None, Span::seconds(1800)));
    let nested = test.nested.expect("a permission");
    assert_eq!((build.nested, nested.containers, nested.pids), (None, 4, 500));
    assert_eq!(pipeline.package.include[1].to.as_deref(), Some("etc/shop.toml"));
    assert!(pipeline.image.tags.is_empty() && pipeline.image.recipe.healthcheck.is_some());
    assert_eq!(pipeline.deploy.expect("a document").workload.as_str(), "web");
    let told = [NotifyTarget::Webhook("https://chat.lan/x".to_owned()), NotifyTarget::Email("ops@example.org".to_owned())];
    assert_eq!(pipeline.on_failure, told);
}
