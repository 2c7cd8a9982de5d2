//! `[notify]`: who is told.

use super::{Places, only_once, shortened, url};
use crate::document::diagnostic::Rule;
use crate::document::raw::{Field, Mistakes};
use crate::pipeline::NotifyTarget;

/// Longest address of a mailbox, in bytes (RFC 5321 section 4.5.3.1.3, a path of 256 with its brackets).
const ADDRESS_MAX_BYTES: usize = 254;
/// Longest name before its `@` (RFC 5321 section 4.5.3.1.1).
const LOCAL_PART_MAX_BYTES: usize = 64;

/// Those who are told, none twice.
pub(super) fn targets(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<NotifyTarget> {
    const CURE: &str = "write for example \"webhook:https://chat.lan/hooks/ops\" or \"email:ops@example.org\"";
    let mut seen = Places::new();
    let mut targets = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        let target = match text.split_once(':') {
            Some(("webhook", address)) => match url::check(address, &url::WEB, false) {
                Ok(_) => NotifyTarget::Webhook(address.to_owned()),
                Err(url::UrlProblem { problem, .. }) => {
                    // The URL is not repeated: it may hold a token.
                    mistakes.push(entry.wrong(Rule::BadNotifyTarget, format!("the webhook's URL {problem}")).hint(CURE));
                    continue;
                }
            },
            Some(("email", address)) if is_address(address) => NotifyTarget::Email(address.to_owned()),
            Some(("email", address)) => {
                let bad = format!("{:?} is no address of a mailbox", shortened(address));
                mistakes.push(entry.wrong(Rule::BadNotifyTarget, bad).hint("write for example \"email:ops@example.org\""));
                continue;
            }
            _ => {
                mistakes.push(
                    entry.wrong(Rule::BadNotifyTarget, "it is not said how to tell").hint(guess(text).unwrap_or(CURE.to_owned())),
                );
                continue;
            }
        };
        if only_once(&entry, text, &mut seen, mistakes) {
            targets.push(target);
        }
    }
    targets
}

/// What was probably meant by a target without its kind.
fn guess(text: &str) -> Option<String> {
    if is_address(text) {
        return Some(format!("write \"email:{text}\""));
    }
    text.strip_prefix("mailto:").filter(|address| is_address(address)).map(|address| format!("write \"email:{address}\""))
}

/// An address as people have them: atoms and dots (RFC 5322 section 3.2.3), no quotes, no comments, and so nothing that could become a
/// second header or a second receiver.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let is_atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let is_local = !local.is_empty() && local.len() <= LOCAL_PART_MAX_BYTES && local.bytes().all(is_atom);
    let dots = |text: &str| !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    let is_domain = !domain.is_empty() && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    text.len() <= ADDRESS_MAX_BYTES
        && is_local
        && is_domain
        && dots(local)
        && dots(domain)
        && !local.starts_with('-')
        && !domain.starts_with('-')
}
