//! A streamed answer, line by line.

use super::ClientError;
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use std::time::Duration;

/// Longest line, in bytes: a log line has at most 16 KiB, and JSON may write each byte as six.
const LINE_MAX_BYTES: usize = 256 * 1024;

/// The lines of an answer as they come. Empty lines (heartbeats) are skipped.
#[derive(Debug)]
pub(crate) struct LineStream {
    response: Response,
    buffer: BytesMut,
    what: String,
    url: String,
    idle: Duration,
}

impl LineStream {
    /// `idle` is the longest silence, heartbeats included, before the stream counts as cut.
    pub(super) fn new(response: Response, what: String, url: String, idle: Duration) -> Self {
        Self { response, buffer: BytesMut::new(), what, url, idle }
    }

    /// The next line without its newline; `None` at the proper end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze().slice(..end);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
            if self.buffer.len() > LINE_MAX_BYTES {
                return Err(self.garbage(format!("a line is longer than {LINE_MAX_BYTES} bytes")));
            }
            match self.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ClientError::CutLine { what: self.what.clone(), url: self.url.clone() }),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(ClientError::of_transport(&self.what, &self.url, self.idle, error)),
            Err(_) => Err(ClientError::Timeout { what: self.what.clone(), url: self.url.clone(), after: self.idle }),
        }
    }

    fn garbage(&self, problem: String) -> ClientError {
        ClientError::Garbage { what: self.what.clone(), url: self.url.clone(), problem }
    }
}
