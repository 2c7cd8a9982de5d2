//! An error and its causes in one line, for the place where it is handled.

use std::error::Error;

/// The error and its causes, outermost first, each said once.
///
/// An HTTP client's error is a tower of wrappings ("error sending request: client error (Connect): tcp connect error: Connection
/// refused"): of those, only the last word is told.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let is_http = error.is::<reqwest::Error>() || error.is::<Box<reqwest::Error>>();
        let said = if is_http { last_word(error) } else { error.to_string() };
        // Some libraries repeat their cause in their own words.
        if !line.ends_with(&said) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&said);
        }
        next = if is_http { None } else { error.source() };
    }
    line
}

fn last_word(error: &(dyn Error + 'static)) -> String {
    let http =
        error.downcast_ref::<reqwest::Error>().or_else(|| error.downcast_ref::<Box<reqwest::Error>>().map(|boxed| &**boxed));
    if http.is_some_and(reqwest::Error::is_timeout) {
        return "no answer in time".to_owned();
    }
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the page")]
    struct Outer(#[source] reqwest::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("outer: inner")]
    struct Repeats(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[tokio::test]
    async fn of_a_tower_of_wrappings_the_last_word_is_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let client = reqwest::Client::builder().tls_certs_only([]).build().expect("a client");
        let error = client.get(format!("http://{address}/")).send().await.expect_err("nobody listens");
        assert_eq!(chain(&Outer(error)), "cannot read the page: Connection refused (os error 111)");
    }

    #[test]
    fn what_is_repeated_is_said_once() {
        assert_eq!(chain(&Repeats(Inner)), "outer: inner");
    }
}
