//! Quantities as people write them: sizes, shares of CPUs, times, signals.
//!
//! The notations are Compose's (compose-spec, "Specifying byte values" and "Specifying durations"), plus the IEC units that say
//! what they mean. Each type parses once and prints in the form in which it would be written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a quantity could not be read. Displays as a full sentence about the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuantityError(String);

/// Gives a quantity its conversions from and into the text that travels.
macro_rules! travels_as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = QuantityError;
            fn try_from(text: String) -> Result<Self, QuantityError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(quantity: $name) -> String {
                quantity.to_string()
            }
        }
    )*};
}
travels_as_text!(ByteSize, Span, Signal);

/// A number of bytes: `256MiB`, `1.5GiB`, `512m`, `1073741824`. Compose's `k`, `m`, `g` are powers of 1024, as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = || QuantityError(format!("{text:?} is not a size; write for example 256MiB, 1.5GiB or 512m"));
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1_u64 << 40,
            _ => return Err(fail()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(fail);
        }
        let bytes = number.parse::<f64>().map_err(|_| fail())? * factor as f64;
        if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(fail()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            SIZE_UNITS.into_iter().find(|&(_, factor)| self.0 >= factor && self.0.is_multiple_of(factor)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl ByteSize {
    /// For people: three significant digits and the fitting unit, `1.46 GiB`.
    pub fn human(self) -> String {
        let unit = self.unit();
        format!("{} {}", self.digits(unit), unit.0)
    }

    /// How far something is, for people, in the unit of the whole: `120 of 344 MiB (34%)`. The whole must not be 0.
    pub fn of(self, whole: Self) -> String {
        let unit = whole.unit();
        let percent = self.0.saturating_mul(100) / whole.0.max(1);
        format!("{} of {} {} ({percent}%)", self.digits(unit), whole.digits(unit), unit.0)
    }

    fn unit(self) -> (&'static str, u64) {
        SIZE_UNITS.into_iter().find(|&(_, factor)| self.0 >= factor).unwrap_or(("B", 1))
    }

    fn digits(self, (_, factor): (&'static str, u64)) -> String {
        let value = self.0 as f64 / factor as f64;
        let decimals = if factor == 1 || value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        format!("{value:.decimals$}")
    }
}

/// Thousandths of a CPU: `cpus = 0.5` is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MilliCpus(pub u32);

impl MilliCpus {
    /// Most CPUs that a document may ask for; no machine that we know has more.
    pub const MAX_CPUS: f64 = 4096.0;

    /// From a number of CPUs. Errors below a hundredth (the kernel's smallest quota is 1 ms in 100 ms) and above [`Self::MAX_CPUS`].
    pub fn from_cpus(cpus: f64) -> Result<Self, QuantityError> {
        if (0.01..=Self::MAX_CPUS).contains(&cpus) {
            Ok(Self((cpus * 1000.0).round() as u32))
        } else {
            Err(QuantityError(format!(
                "{cpus} is not a number of CPUs; write for example 0.5, at least 0.01 and at most {}",
                Self::MAX_CPUS
            )))
        }
    }
}

impl fmt::Display for MilliCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

/// A length of time: `500ms`, `5s`, `1m30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A year: nothing in a document waits longer, and sums of spans stay far from overflow.
    const MAX: Duration = Duration::from_secs(366 * 86_400);
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = || QuantityError(format!("{text:?} is not a length of time; write for example 500ms, 5s, 1m30s or 2h"));
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut total = Duration::ZERO;
        let mut last_unit_ms = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fail)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, unit_ms) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
            // Descending units only, as people write them: 1m30s, never 30s1m or 1s1s.
            if unit_ms >= last_unit_ms {
                return Err(fail());
            }
            last_unit_ms = unit_ms;
            let seconds = number.parse::<f64>().map_err(|_| fail())? * unit_ms as f64 / 1000.0;
            total += Duration::try_from_secs_f64(seconds).ok().filter(|d| *d <= Self::MAX).ok_or_else(fail)?;
            rest = tail;
        }
        if text.is_empty() || total > Self::MAX {
            return Err(fail());
        }
        // Milliseconds are the finest unit that prints back.
        Ok(Self(Duration::from_millis(total.as_millis() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis() as u64;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, unit_ms) in TIME_UNITS {
            if rest >= unit_ms {
                write!(f, "{}{unit}", rest / unit_ms)?;
                rest %= unit_ms;
            }
        }
        Ok(())
    }
}

/// A signal by its Linux number: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(pub i32);

impl Signal {
    /// The polite request to end (signal(7)).
    pub const TERM: Self = Self(15);
    /// The end without a question (signal(7)).
    pub const KILL: Self = Self(9);
    /// The first real-time signal that programs may use; glibc and musl keep 32 to 34 for themselves.
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
}

impl Signal {
    /// What its name does not tell everyone; `None` for those that only ask to end, or that programs use as they like.
    pub fn in_words(self) -> Option<&'static str> {
        match self.0 {
            1 => Some("hangup"),
            2 => Some("interrupt"),
            4 => Some("illegal instruction"),
            6 => Some("abort"),
            7 => Some("bus error"),
            8 => Some("arithmetic error"),
            11 => Some("segmentation fault"),
            13 => Some("broken pipe"),
            24 => Some("CPU time limit"),
            25 => Some("file size limit"),
            31 => Some("bad system call"),
            _ => None,
        }
    }
}

/// Numbers and names of signal(7), x86 and ARM.
const SIGNALS: [(i32, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

impl FromStr for Signal {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = || QuantityError(format!("{text:?} is not a signal; write for example SIGTERM, SIGQUIT or SIGRTMIN+3"));
        let valid = |number: i32| if (1..=Self::RTMAX).contains(&number) { Ok(Self(number)) } else { Err(fail()) };
        if let Ok(number) = text.parse::<i32>() {
            return valid(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() {
                0
            } else {
                offset.strip_prefix('+').and_then(|n| n.parse().ok()).filter(|n| *n <= 30).ok_or_else(fail)?
            };
            return valid(Self::RTMIN + offset);
        }
        SIGNALS.iter().find(|(_, known)| *known == name).map(|(number, _)| Self(*number)).ok_or_else(fail)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "SIG{name}"),
            None if self.0 >= Self::RTMIN => write!(f, "SIGRTMIN+{}", self.0 - Self::RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = QuantityError> + fmt::Display>(text: &str, expect: Option<&str>) {
        let got = text.parse::<T>();
        match (&got, expect) {
            (Ok(value), Some(shown)) => assert_eq!(value.to_string(), shown, "{text:?}"),
            (Err(_), None) => {}
            (Ok(value), None) => panic!("{text:?} was taken as {value}"),
            (Err(error), Some(_)) => panic!("{error}"),
        }
    }

    #[test]
    fn sizes() {
        check::<ByteSize>("256MiB", Some("256MiB"));
        check::<ByteSize>("512m", Some("512MiB"));
        check::<ByteSize>("1.5GiB", Some("1536MiB"));
        check::<ByteSize>("1000", Some("1000B"));
        check::<ByteSize>("0", Some("0B"));
        check::<ByteSize>("", None);
        check::<ByteSize>("MiB", None);
        check::<ByteSize>("-1m", None);
        check::<ByteSize>("1.2.3m", None);
        check::<ByteSize>("99999999999TiB", None);
        assert_eq!(ByteSize(1_572_864_000).human(), "1.46 GiB");
        assert_eq!(ByteSize(12).human(), "12 B");
        let of = |done: u64, whole: u64| ByteSize(done << 20).of(ByteSize(whole << 20));
        assert_eq!((of(120, 344).as_str(), of(0, 2048).as_str()), ("120 of 344 MiB (34%)", "0.00 of 2.00 GiB (0%)"));
    }

    #[test]
    fn spans() {
        check::<Span>("500ms", Some("500ms"));
        check::<Span>("90s", Some("1m30s"));
        check::<Span>("1.5h", Some("1h30m"));
        check::<Span>("0", Some("0s"));
        check::<Span>("", None);
        check::<Span>("5", None);
        check::<Span>("30s1m", None);
        check::<Span>("-5s", None);
        check::<Span>("9999d", None);
        check::<Span>("5 s", None);
    }

    #[test]
    fn signals() {
        check::<Signal>("SIGTERM", Some("SIGTERM"));
        check::<Signal>("quit", Some("SIGQUIT"));
        check::<Signal>("9", Some("SIGKILL"));
        check::<Signal>("SIGRTMIN+3", Some("SIGRTMIN+3"));
        check::<Signal>("SIGRTMIN+31", None);
        check::<Signal>("SIGFOO", None);
        check::<Signal>("0", None);
        check::<Signal>("65", None);
    }

    #[test]
    fn cpus() {
        assert_eq!(MilliCpus::from_cpus(0.5), Ok(MilliCpus(500)));
        assert!(MilliCpus::from_cpus(0.0).is_err());
        assert!(MilliCpus::from_cpus(f64::NAN).is_err());
    }
}
