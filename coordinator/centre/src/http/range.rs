//! `Range` of a download (RFC 9110, 14.2) and `Content-Range` of an upload's piece (distribution spec 1.1, "Pushing a blob in chunks").

/// What part of a blob is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range, several of them, or none that can be understood, which a server may ignore.
    Whole,
    /// From the first byte to the last one, which is part of it.
    Part(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// Reads a `Range` header for a blob of `bytes`.
pub(super) fn wanted(header: Option<&str>, bytes: u64) -> Wanted {
    let Some((first, last)) = header.and_then(|text| text.trim().strip_prefix("bytes=")).and_then(|text| text.split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Wanted::Whole,
        (Some(first), _) if first >= bytes && (last.trim().is_empty() || number(last).is_some()) => Wanted::Nothing,
        (Some(first), Some(last)) => Wanted::Part(first, last.min(bytes.saturating_sub(1))),
        (Some(first), None) if last.trim().is_empty() => Wanted::Part(first, bytes.saturating_sub(1)),
        (None, Some(0)) if first.trim().is_empty() => Wanted::Nothing,
        (None, Some(_)) if first.trim().is_empty() && bytes == 0 => Wanted::Nothing,
        (None, Some(length)) if first.trim().is_empty() => Wanted::Part(bytes.saturating_sub(length), bytes.saturating_sub(1)),
        _ => Wanted::Whole,
    }
}

/// Reads the `Content-Range` of a piece: `A-B` as the spec has it, or `bytes A-B/*` as HTTP has it. First byte and length.
pub(super) fn piece(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some((first, length))
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}
