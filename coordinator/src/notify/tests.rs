//! Notifications: a receiver that fails and recovers, a real SMTP server, and what people read.

mod receivers;
mod words;

use super::*;
use coord_shared::names::{PipelineName, RunId};
use coord_store::{MemoryStore, Store as _};
use receivers::{Answer, Door, Hook, MailServer};
use tokio_util::task::AbortOnDropHandle;
use words::failed_run;

/// Quick enough for a test.
const QUICK: Backoff = Backoff { base: Duration::from_millis(20), max: Duration::from_millis(100) };

struct Bench {
    dir: tempfile::TempDir,
    store: Arc<MemoryStore>,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), store: Arc::default() }
    }

    fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("sets rights");
    }

    fn notifier(&self, config: &NotifyConfig, smtp: Option<Smtp>) -> Arc<Notifier> {
        let secrets = Arc::new(Secrets::new(self.dir.path()));
        let notifier = Notifier::new(Arc::clone(&self.store) as SharedStore, secrets, config, smtp);
        Arc::new(notifier.with_retry(QUICK))
    }

    /// Everything that is not over yet.
    async fn open(&self) -> usize {
        let entries = self.store.range(NOTICE).await.expect("reads");
        let notices = entries.iter().map(|entry| crate::records::decode::<Notice>(&entry.key, &entry.value).expect("decodes"));
        notices.filter(|notice| notice.ended.is_none()).count()
    }

    async fn until_over(&self) {
        until("everybody is told", async || self.open().await == 0).await;
    }
}

fn run(notifier: &Arc<Notifier>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(Arc::clone(notifier).run()))
}

/// Waits for a condition, with a deadline.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still not: {what}");
}

fn hook(url: &str) -> NotifyTarget {
    NotifyTarget::Webhook(url.to_owned())
}

fn notification(number: u64, targets: &[NotifyTarget]) -> Notification {
    Notification { run: failed_run(number), targets: targets.to_vec() }
}

fn shop() -> PipelineName {
    "shop".parse().expect("a name")
}

#[tokio::test]
async fn a_webhook_is_posted_once_signed_and_named() {
    let bench = Bench::new();
    bench.secret("hook", "sesame");
    let receiver = Hook::start(vec![]).await;
    let config = NotifyConfig { webhook_secret: Some("hook".parse().expect("a name")) };
    let notifier = bench.notifier(&config, None);
    let _running = run(&notifier);
    let told = notification(12, &[hook(&receiver.url), hook(&receiver.url)]);
    notifier.tell(&told).await.expect("tells");
    bench.until_over().await;
    // Told again: by a controller that was ended before it could note that.
    notifier.tell(&told).await.expect("tells");
    bench.until_over().await;
    let posts = receiver.posts();
    assert_eq!(posts.len(), 1);
    let (head, body) = &posts[0];
    assert!(head.starts_with("POST /hook?token=t HTTP/1.1\r\n") && head.contains("content-type: application/json"), "{head}");
    assert!(
        head.contains(&format!("x-coord-signature: sha256={}", crate::webhook::signature("sesame", body.as_bytes()))),
        "{head}"
    );
    let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((json["event"].as_str(), json["run"]["run"].as_str()), (Some("run_failed"), Some("shop.12")));
    let delivery = json["delivery"].as_str().expect("a name");
    assert!(delivery.starts_with("shop.12.") && head.contains(&format!("x-coord-delivery: {delivery}")), "{head}");
    assert!(json["text"].as_str().expect("a text").contains("coordctl pipeline logs shop 12"));
    assert_eq!(notifier.problems(&shop()), Vec::<String>::new());
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_holds_up_no_other() {
    let bench = Bench::new();
    let broken = Hook::start(vec![Answer::Status(500), Answer::Close, Answer::Redirect, Answer::Garbage]).await;
    let silent = Hook::start(vec![Answer::Silence]).await;
    let good = Hook::start(vec![]).await;
    let notifier = bench.notifier(&NotifyConfig::default(), None);
    let running = run(&notifier);
    notifier.tell(&notification(1, &[hook(&silent.url), hook(&broken.url), hook(&good.url)])).await.expect("tells");
    until("the good one is told", async || good.posts().len() == 1).await;
    until("the broken one is told", async || broken.posts().len() == 5 && bench.open().await == 1).await;
    let names: BTreeSet<String> = broken.posts().iter().map(|(head, _)| header(head, "x-coord-delivery")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // A restart in the middle: the silent one is told by the next process.
    drop(running);
    let notifier = bench.notifier(&NotifyConfig::default(), None);
    let _running = run(&notifier);
    bench.until_over().await;
    assert_eq!((silent.posts().len(), good.posts().len()), (2, 1));
}

#[tokio::test]
async fn who_cannot_be_told_is_shown_without_the_secret_of_the_address() {
    let bench = Bench::new();
    let broken = Hook::start(vec![Answer::Status(404); 1000]).await;
    let notifier = bench.notifier(&NotifyConfig::default(), None);
    let _running = run(&notifier);
    let mail = NotifyTarget::Email("ops@example.org".to_owned());
    notifier.tell(&notification(7, &[hook(&broken.url), mail])).await.expect("tells");
    until("problems are shown", async || notifier.problems(&shop()).len() == 2).await;
    let problems = notifier.problems(&shop()).join("\n");
    let address = broken.url.replace("/hook?token=t", "/...");
    assert!(
        problems.contains(&format!("webhook:{address} cannot be told of run shop.7: it answers 404 Not Found (trying again)")),
        "{problems}"
    );
    assert!(
        problems.contains("email:ops@example.org cannot be told of run shop.7: this coordinator has no mail server"),
        "{problems}"
    );
    assert!(!problems.contains("token"), "{problems}");
    assert_eq!(notifier.problems(&"other".parse().expect("a name")), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_day_it_is_given_up_and_after_two_forgotten() {
    let bench = Bench::new();
    let notifier = bench.notifier(&NotifyConfig::default(), None);
    let (target, now) = (hook("http://127.0.0.1:1/"), clock::wall());
    let old = now.checked_sub(SignedDuration::from_hours(25)).expect("a time");
    let run_id: RunId = "shop.3".parse().expect("a run");
    let key = notice_key(&run_id, &target);
    let notice = Notice::new(target.clone(), message(&failed_run(3), "x"), old);
    bench.store.txn(Txn::default().put(&*key, encode(&notice))).await.expect("writes");
    let mut told = Notice::new(target, message(&failed_run(2), "x"), old);
    told.end(Outcome::Delivered, now.checked_sub(SignedDuration::from_hours(49)).expect("a time"));
    bench.store.txn(Txn::default().put("notify/shop/2/x", encode(&told))).await.expect("writes");
    let _running = run(&notifier);
    bench.until_over().await;
    let problems = notifier.problems(&shop());
    assert!(problems.len() == 1 && problems[0].ends_with("(given up)"), "{problems:?}");
    assert!(bench.store.get("notify/shop/2/x").await.expect("reads").is_none());
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().to_owned()
}

fn smtp(port: u16, tls: SmtpTls) -> Smtp {
    Smtp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
        tls,
        ca: None,
        username: None,
        password_secret: None,
        from: "Deployments <coord@example.org>".to_owned(),
    }
}

#[tokio::test]
async fn a_mail_arrives_whatever_the_commit_says() {
    let bench = Bench::new();
    let server = MailServer::start(bench.dir.path(), Door::Open).await;
    let notifier = bench.notifier(&NotifyConfig::default(), Some(smtp(server.port, SmtpTls::None)));
    let _running = run(&notifier);
    let mut told = notification(12, &[NotifyTarget::Email("Ops <ops@example.org>".to_owned())]);
    let about = told.run.about.as_mut().expect("a commit");
    about.subject = "Fix größe\r\nBcc: evil@example.org\r\n\r\nInjected".to_owned();
    told.run.steps[0].last_lines.push(".\r\nMAIL FROM:<evil@example.org>".to_owned());
    notifier.tell(&told).await.expect("tells");
    bench.until_over().await;
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "{:?}", notifier.problems(&shop()));
    let mail = &mails[0];
    assert_eq!(mail["to"], serde_json::json!(["ops@example.org"]));
    assert_eq!(mail["from"], "coord@example.org");
    assert_eq!(mail["bcc"], serde_json::Value::Null);
    let subject = mail["subject"].as_str().expect("a subject");
    assert!(subject.starts_with("[coord] shop.12 failed in test.0: Fix größe  Bcc: evil@example.org"), "{subject}");
    assert!(mail["id"].as_str().expect("an id").starts_with("<shop.12."), "{mail}");
    assert_eq!(mail["auto"], "auto-generated");
    let text = mail["text"].as_str().expect("a text");
    for words in
        ["Run shop.12 failed.", "cargo test --release", "exit code 101", "assertion failed", "Nothing changed on any host."]
    {
        assert!(text.contains(words), "{words:?} is missing in {text}");
    }
}

#[tokio::test]
async fn a_mail_server_that_wants_a_password_or_is_away_is_named() {
    let bench = Bench::new();
    bench.secret("mail", "sesame");
    let server = MailServer::start(bench.dir.path(), Door::Guarded).await;
    let login = |password: &str| Smtp {
        username: Some("coord".to_owned()),
        password_secret: Some(password.parse().expect("a name")),
        ..smtp(server.port, SmtpTls::None)
    };
    let target = NotifyTarget::Email("ops@example.org".to_owned());
    let check = async |number: u64, smtp: Smtp, words: &str| {
        let notifier = bench.notifier(&NotifyConfig::default(), Some(smtp));
        let _running = run(&notifier);
        notifier.tell(&notification(number, std::slice::from_ref(&target))).await.expect("tells");
        until(words, async || notifier.problems(&shop()).iter().any(|problem| problem.contains(words))).await;
    };
    check(1, smtp(server.port, SmtpTls::None), "530").await;
    check(2, login("none"), "there is no secret none").await;
    bench.secret("wrong", "other");
    check(3, login("wrong"), "535").await;
    check(4, smtp(server.port, SmtpTls::StartTls), "STARTTLS").await;
    check(5, smtp(1, SmtpTls::None), "refused").await;
    assert_eq!(server.mails().len(), 0);
    // All of them arrive once the configuration is right.
    let notifier = bench.notifier(&NotifyConfig::default(), Some(login("mail")));
    let _running = run(&notifier);
    bench.until_over().await;
    assert_eq!(server.mails().len(), 5);
}

#[tokio::test]
async fn mail_is_encrypted_for_the_server_that_its_authority_knows() {
    for (door, tls) in [(Door::Tls, SmtpTls::Tls), (Door::StartTls, SmtpTls::StartTls)] {
        let bench = Bench::new();
        let server = MailServer::start(bench.dir.path(), door).await;
        let told = notification(12, &[NotifyTarget::Email("ops@example.org".to_owned())]);
        let unknown = bench.notifier(&NotifyConfig::default(), Some(smtp(server.port, tls)));
        let running = run(&unknown);
        unknown.tell(&told).await.expect("tells");
        let is_refused = |problem: &String| problem.contains("certificate");
        until("the server's certificate is refused", async || unknown.problems(&shop()).iter().any(is_refused)).await;
        drop(running);
        assert_eq!(server.mails().len(), 0);
        let known = Smtp { ca: Some(bench.dir.path().join("cert.pem")), ..smtp(server.port, tls) };
        let _running = run(&bench.notifier(&NotifyConfig::default(), Some(known)));
        bench.until_over().await;
        assert_eq!(server.mails().len(), 1);
    }
}
