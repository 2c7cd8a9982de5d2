//! `[smtp]` and `[notify]` of coordinator.toml.

use coord_shared::names::SecretName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[notify]`: what is common to all that are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// The secret that signs what webhooks are sent (`x-coord-signature`); unsigned where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<SecretName>,
}

/// `[smtp]`: who takes our mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The server's name, which its certificate has.
    pub host: String,
    /// Its port; what `tls` implies where absent: 587, 465 or 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: SmtpTls,
    /// The authority of its certificate, as PEM, where the system does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Who logs in; nobody where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The secret that is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretName>,
    /// Who the mail is from: `coord@example.org`, or `Deployments <coord@example.org>`.
    pub from: String,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Begun in plain, then encrypted (RFC 3207); refused where the server cannot.
    #[default]
    StartTls,
    /// From the first byte on (RFC 8314).
    Tls,
    /// Not at all: for a server on this machine.
    None,
}

impl Smtp {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            SmtpTls::StartTls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        })
    }

    /// Refuses what cannot work, or would show a password. The error is a sentence with its cure.
    pub fn check(&self) -> Result<(), String> {
        if self.host.is_empty() {
            return Err("smtp.host is empty; write the mail server's name".to_owned());
        }
        if let Err(error) = self.from.parse::<lettre::message::Mailbox>() {
            return Err(format!("smtp.from = {:?} is no mail address ({error}); write coord@example.org", self.from));
        }
        if self.username.is_some() != self.password_secret.is_some() {
            return Err("smtp.username and smtp.password_secret go together; set both, or neither".to_owned());
        }
        let is_here = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if self.tls == SmtpTls::None && self.username.is_some() && !is_here {
            return Err("smtp.tls = \"none\" would send the password for all to read; use \"starttls\" or \"tls\"".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |text: &str, words: &str| {
            let smtp: Result<Smtp, _> = toml::from_str(text);
            let checked = smtp.map_err(|e| e.message().to_owned()).and_then(|smtp| smtp.check());
            match words {
                "" => assert_eq!(checked, Ok(()), "{text}"),
                _ => assert!(checked.as_ref().is_err_and(|e| e.contains(words)), "{text}: {checked:?}"),
            }
        };
        let base = "host = \"mail.lan\"\nfrom = \"coord@example.org\"\n";
        check(base, "");
        check(&format!("{base}username = \"u\"\npassword_secret = \"mail\""), "");
        check(&format!("{base}username = \"u\""), "go together");
        check(&format!("{base}username = \"u\"\npassword_secret = \"mail\"\ntls = \"none\""), "for all to read");
        check("host = \"127.0.0.1\"\nfrom = \"a@b.c\"\nusername = \"u\"\npassword_secret = \"mail\"\ntls = \"none\"", "");
        check("host = \"mail.lan\"\nfrom = \"coord\"", "no mail address");
        check("host = \"mail.lan\"\nfrom = \"a@b.c\\r\\nBcc: x@y.z\"", "no mail address");
        check("host = \"\"\nfrom = \"a@b.c\"", "smtp.host is empty");
        check(&format!("{base}tls = \"maybe\""), "maybe");
        check(&format!("{base}password = \"sesame\""), "unknown field");
    }
}
