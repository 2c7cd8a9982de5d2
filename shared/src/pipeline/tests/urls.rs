//! Which URLs, branches and addresses are taken.

use super::parse;

fn taken(source: &str) -> bool {
    let text = format!("[source]\n{source}\n[image]\nrepository = \"shop\"\n");
    match parse(&text) {
        Ok(_) => true,
        Err(mistakes) => {
            assert_eq!(mistakes.count(), 1, "{}", mistakes.render("pipeline.toml", &text, false));
            false
        }
    }
}

#[test]
fn urls_of_git() {
    let check = |url: &str, expect: bool| assert_eq!(taken(&format!("git = {url:?}")), expect, "{url}");
    for good in [
        "https://git.lan/shop.git",
        "http://git.lan:8080/a/b?c=d",
        "https://[::1]:8443/shop",
        "ssh://git@git.lan:2222/shop.git",
        "ssh://git.lan/~me/shop",
        "git@git.lan:team/shop.git",
        "git://git.lan/shop",
        "file:///srv/git/shop.git",
    ] {
        check(good, true);
    }
    for bad in [
        "",
        "-oX",
        "ext::sh",
        "ext::sh -c id",
        "fd::17",
        "ftp://git.lan/shop",
        "HTTPS://git.lan/shop",
        "https://",
        "https:///shop",
        "https://git.lan:0/shop",
        "https://git.lan:x/shop",
        "https://token@git.lan/shop",
        "https://@git.lan/shop",
        "https://git.lan/a b",
        "https://git.lan/a#b",
        "https://git.l\u{e4}n/a",
        "https://-x/a",
        "ssh://me:pw@git.lan/a",
        "ssh://-x@git.lan/a",
        "ssh://-oProxyCommand=id/a",
        "git@-x:a",
        "-x@git.lan:a",
        "git@git.lan:-a",
        "git@git.lan:",
        "git@git.lan::a",
        "git.lan:shop",
        "/srv/git/shop",
        "../shop",
        "file://srv/git",
        "file://",
        "file:///",
    ] {
        check(bad, false);
    }
    check(&format!("https://git.lan/{}", "x".repeat(2048)), false);
}

#[test]
fn urls_of_subversion() {
    let check = |url: &str, expect: bool| assert_eq!(taken(&format!("svn = {url:?}")), expect, "{url}");
    for good in ["https://svn.lan/shop/trunk", "svn://svn.lan/shop", "svn+ssh://me@svn.lan/shop", "file:///srv/svn/shop/trunk"] {
        check(good, true);
    }
    for bad in [
        "svn+x://svn.lan/shop",
        "ssh://svn.lan/shop",
        "me@svn.lan:shop",
        "https://svn.lan/shop@7",
        "https://me@svn.lan/shop",
        "-r7",
    ] {
        check(bad, false);
    }
}

#[test]
fn branches_and_tags() {
    let branch = |name: &str| taken(&format!("git = \"https://git.lan/a\"\nbranch = {name:?}"));
    let tags = |name: &str| taken(&format!("git = \"https://git.lan/a\"\ntags = {name:?}"));
    for good in ["main", "release/1.2", "feature_x-y", "a@b", "\u{e4}"] {
        assert!(branch(good) && tags(good), "{good}");
    }
    for bad in [
        "",
        "-x",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a[b",
        "a\\b",
        "a/",
        "/a",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.",
        "@",
        "a@{1}",
        "refs/heads/a",
    ] {
        assert!(!branch(bad) && !tags(bad), "{bad}");
    }
    assert!(!branch("v*") && tags("v*") && tags("v?.*"));
}
