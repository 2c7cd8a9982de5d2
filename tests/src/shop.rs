//! A small web service in C, as it lies in a repository: what the tests of the line build, test and deploy.
//!
//! `GET /` gives one line, `shop VERSION: 9.00 on HOST`. The price is what its own test computes, so that a commit can break the test.

use crate::image::Image;
use crate::{compiler, fleet::Fleet};
use anyhow::Result;

/// The image in which it is built, in the image centre.
pub const COMPILER: &str = "tools/cc:1";
/// Where it listens on each host.
pub const PORT: u16 = 8088;

const MAIN: &str = r#"#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* In cents, after a discount in percent. */
static int price(int cents, int percent) { return cents DISCOUNT cents * percent / 100; }

static void stop(int signal) { (void)signal; _exit(0); }

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "price") == 0) {
        printf("%d\n", price(atoi(argv[2]), atoi(argv[3])));
        return 0;
    }
    signal(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_port = htons(PORT);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) {
        perror("listen");
        return 1;
    }
    char host[256] = "", page[512], answer[1024];
    gethostname(host, sizeof host - 1);
    int cents = price(1000, 10);
    snprintf(page, sizeof page, "shop %s: %d.%02d on %s\n", VERSION, cents / 100, cents % 100, host);
    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", (int)strlen(page), page);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0)
            continue;
        char request[4096];
        (void)!read(peer, request, sizeof request);
        (void)!write(peer, answer, strlen(answer));
        shutdown(peer, SHUT_WR);
        (void)!read(peer, request, sizeof request);
        close(peer);
    }
}
"#;

const TEST: &str = r#"#!/bin/sh
echo "testing the price"
got=$(./shop price 1000 10)
[ "$got" = 900 ] || { echo "10 % off 1000 is 900, not $got" >&2; exit 1; }
echo "all is well"
"#;

/// All files of one version.
pub fn version(version: &str) -> Vec<(&'static str, String)> {
    let main = MAIN.replace("DISCOUNT", "-").replace("VERSION", &format!("{version:?}")).replace("PORT", &PORT.to_string());
    vec![
        ("shop.c", main),
        ("test.sh", TEST.to_owned()),
        ("assets/logo.txt", "a logo\n".to_owned()),
        ("deploy/web.toml", document()),
    ]
}

/// The same with a mistake that only the test finds.
pub fn broken(name: &str) -> Vec<(&'static str, String)> {
    let mut files = version(name);
    files[0].1 = files[0].1.replace("return cents - cents", "return cents + cents");
    files
}

/// The deploy requirement: on all hosts that are labelled so, at once.
pub fn document() -> String {
    "# Where the shop runs.\nimage = \"coord.internal/shop:latest\" # replaced by each run\nhosts = [\"role=web\"]\nnetwork = \"host\"\n\
     stop_grace_period = \"2s\"\n\n[rollout]\nparallelism = 8\nmonitor = \"0s\"\n"
        .to_owned()
}

/// A pipeline from a source (the text of its `[source]`), with more tables at its end.
pub fn pipeline(source: &str, tables: &str) -> String {
    format!(
        "[source]\n{source}\n[build]\nimage = \"coord.internal/{COMPILER}\"\nnetwork = \"none\"\nsteps = [\"cc -o shop shop.c\"]\n\
         [test]\nnetwork = \"none\"\nsteps = [\"sh test.sh\"]\n[package]\ninclude = [\"shop\", \"assets/**\"]\n[image]\n\
         repository = \"shop\"\nentrypoint = [\"/app/shop\"]\n[deploy]\ndocument = \"deploy/web.toml\"\n{tables}"
    )
}

/// Puts the compiler's image where the pipeline expects it.
pub fn push_compiler(fleet: &Fleet) -> Result<()> {
    let image: Image = compiler::image()?;
    fleet.push_to_centre(&image, COMPILER)
}
