//! One attempt to deliver: a POST, or a mail.
//!
//! A POST follows no redirect: it may hold what only its receiver should see, and the path of its address is often all that protects it.

use super::config::{Smtp, SmtpTls};
use super::outbox::Notice;
use crate::secrets::Secrets;
use crate::webhook::signature;
use coord_shared::names::SecretName;
use coord_shared::pipeline::NotifyTarget;
use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a webhook may take, answer included.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a mail server may take for each command.
const SMTP_COMMAND_PATIENCE: Duration = Duration::from_secs(30);
/// How long a mail may take in all: servers that look at mail closely need a minute.
const SMTP_PATIENCE: Duration = Duration::from_secs(120);
/// Longest problem, in characters.
const PROBLEM_MAX_CHARS: usize = 400;

/// Why somebody was not told this time; with its cure.
#[derive(Debug)]
pub(super) struct Undelivered(pub(super) String);

/// Delivers.
pub(super) struct Deliverer {
    secrets: Arc<Secrets>,
    webhook_secret: Option<SecretName>,
    smtp: Option<Smtp>,
}

impl Deliverer {
    pub(super) fn new(secrets: Arc<Secrets>, webhook_secret: Option<SecretName>, smtp: Option<Smtp>) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing this race means that another thread installed one: just as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self { secrets, webhook_secret, smtp }
    }

    /// One attempt. `delivery` names the message, whichever attempt it is.
    pub(super) async fn deliver(&self, delivery: &str, notice: &Notice) -> Result<(), Undelivered> {
        match notice.target() {
            Some(NotifyTarget::Webhook(url)) => self.post(&url, delivery, &notice.message.json).await,
            Some(NotifyTarget::Email(address)) => self.mail(&address, delivery, notice).await,
            None => Err(Undelivered("this coordinator does not know how; upgrade it".to_owned())),
        }
    }

    async fn post(&self, url: &str, delivery: &str, json: &str) -> Result<(), Undelivered> {
        let url: reqwest::Url = url.parse().map_err(|_| Undelivered("its address is none; mend the pipeline".to_owned()))?;
        let client = client_for(&url)?;
        let mut request = client
            .post(url)
            .header("content-type", "application/json")
            .header("x-coord-delivery", delivery)
            .body(json.to_owned());
        if let Some(name) = &self.webhook_secret {
            let secret = self.secrets.read(name).map_err(|error| undelivered(&error))?;
            request = request.header("x-coord-signature", format!("sha256={}", signature(secret.text(), json.as_bytes())));
        }
        // The address stays out of the message: its path may be a secret.
        let answer = request.send().await.map_err(|error| undelivered(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let what = if status.is_redirection() { "; write the address that it redirects to" } else { "" };
        Err(Undelivered(format!("it answers {status}{what}")))
    }

    async fn mail(&self, address: &str, delivery: &str, notice: &Notice) -> Result<(), Undelivered> {
        let Some(smtp) = &self.smtp else {
            return Err(Undelivered("this coordinator has no mail server; set [smtp] in coordinator.toml".to_owned()));
        };
        let mail = compose(smtp, address, delivery, notice)?;
        let sent =
            tokio::time::timeout(SMTP_PATIENCE, async { self.transport(smtp)?.send(mail).await.map_err(|e| undelivered(&e)) });
        match sent.await {
            Ok(sent) => sent.map(drop),
            Err(_) => Err(Undelivered(format!("the mail server {} takes too long", smtp.host))),
        }
    }

    fn transport(&self, smtp: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, Undelivered> {
        let tls = match smtp.tls {
            SmtpTls::StartTls => Tls::Required(tls_parameters(smtp)?),
            SmtpTls::Tls => Tls::Wrapper(tls_parameters(smtp)?),
            SmtpTls::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host);
        let mut builder = builder.port(smtp.port()).tls(tls).timeout(Some(SMTP_COMMAND_PATIENCE));
        if let (Some(user), Some(name)) = (&smtp.username, &smtp.password_secret) {
            let password = self.secrets.read(name).map_err(|error| undelivered(&error))?;
            builder = builder.credentials(Credentials::new(user.clone(), password.text().to_owned()));
        }
        Ok(builder.build())
    }
}

/// One that is made for this delivery: ends of runs are far apart, and a host may do without the system's certificates for as long as
/// nobody needs them.
fn client_for(url: &reqwest::Url) -> Result<reqwest::Client, Undelivered> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("coord/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_PATIENCE)
        .timeout(WEBHOOK_PATIENCE)
        .redirect(reqwest::redirect::Policy::none());
    // No proxy is meant for receivers on this machine.
    if url.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        let Undelivered(problem) = undelivered(&error);
        Undelivered(format!("{problem}; are the system's certificates (ca-certificates) installed?"))
    })
}

fn tls_parameters(smtp: &Smtp) -> Result<TlsParameters, Undelivered> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca {
        let unusable = |problem: String| Undelivered(format!("smtp.ca = {:?}: {problem}", path.display().to_string()));
        let pem = std::fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let authority = Certificate::from_pem(&pem).map_err(|error| unusable(format!("is no certificate: {error}")))?;
        builder = builder.add_root_certificate(authority);
    }
    builder.build().map_err(|error| undelivered(&error))
}

/// The mail. Whatever a commit says, it is one header's value and one text.
fn compose(smtp: &Smtp, address: &str, delivery: &str, notice: &Notice) -> Result<Mail, Undelivered> {
    let bad = |what: &str, error: &dyn Error| Undelivered(format!("{what} is no mail address ({error}); mend it"));
    let from: Mailbox = smtp.from.parse().map_err(|error| bad("smtp.from in coordinator.toml", &error))?;
    let to: Mailbox = address.parse().map_err(|error| bad("it", &error))?;
    let id = format!("<{delivery}@{}>", from.email.domain());
    // RFC 3834, section 5: so that nobody's holiday notice answers.
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let mail = Mail::builder()
        .from(from)
        .to(to)
        .subject(notice.message.subject.clone())
        .date(system_time(notice.made_at))
        .message_id(Some(id))
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN);
    mail.body(notice.message.text.clone()).map_err(|error| undelivered(&error))
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::from(at)
}

fn undelivered(error: &(dyn Error + 'static)) -> Undelivered {
    Undelivered(
        coord_registry::chain(error).chars().map(|c| if c.is_control() { ' ' } else { c }).take(PROBLEM_MAX_CHARS).collect(),
    )
}
