//! What is wrong with a text: one [`Diagnostic`] a mistake, each with its rule, its place and its cure.
//!
//! Deliberately absent: how they look (see `render.rs`), and warnings. A text is taken or it is not; advice that may be
//! ignored belongs into the status, not here.

use std::fmt;
use std::ops::Range;

/// Most mistakes that are kept of one text; the rest is counted. More than anybody mends before looking again, and few enough
/// that a hostile text cannot make its own report large.
pub const MISTAKES_MAX: usize = 100;

/// Declares the rules together with their codes; the doc line is what the reference prints.
macro_rules! rules {
    (
        documents { $(#[doc = $meaning:literal] $name:ident = $code:literal,)* }
        others { $(#[doc = $other_meaning:literal] $other:ident = $other_code:literal,)* }
    ) => {
        /// The rule that a text breaks. Its code is part of the contract: programs may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $meaning] $name,)*
            $(#[doc = $other_meaning] $other,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)* $(Rule::$other,)*];
            /// Those that a document can break, in the order of its reference.
            pub const OF_DOCUMENTS: &'static [Rule] = &[$(Rule::$name,)*];

            /// The rule's name in output, kebab-case.
            pub fn code(self) -> &'static str {
                match self {
                    $(Rule::$name => $code,)*
                    $(Rule::$other => $other_code,)*
                }
            }

            /// The rule in a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Rule::$name => $meaning.trim_ascii(),)*
                    $(Rule::$other => $other_meaning.trim_ascii(),)*
                }
            }
        }
    };
}

rules! {
    documents {
        /// The text is TOML 1.1.
        Syntax = "syntax",
        /// A text is at most 64 KiB long.
        TooLarge = "too-large",
        /// A list or table has at most 1000 entries.
        TooMany = "too-many",
        /// Every key is one that the format knows.
        UnknownKey = "unknown-key",
        /// A key or value that the format will have is refused until it does something.
        NotSupportedYet = "not-supported-yet",
        /// A key stands in its own table, under its own name, also where Compose has it elsewhere.
        MisplacedKey = "misplaced-key",
        /// What must be said is said: a document's image and hosts, a mount's target, a pipeline's source.
        MissingKey = "missing-key",
        /// A value has its key's type.
        WrongType = "wrong-type",
        /// A number lies within its key's limits.
        OutOfRange = "out-of-range",
        /// A value that is one of a few words is one of them.
        BadChoice = "bad-choice",
        /// No text holds a NUL character: the kernel's texts end there.
        NulByte = "nul-byte",
        /// No host, variable, label, door of the host or place in the container is there twice.
        Duplicate = "duplicate",
        /// `image` is an image reference.
        BadImage = "bad-image",
        /// `hosts` has at least one entry.
        NoHosts = "no-hosts",
        /// An entry of `hosts` is a host name, a glob or a label.
        BadHostSelector = "bad-host-selector",
        /// A command written as one string is plain shell words.
        BadCommand = "bad-command",
        /// Something is left to run: an empty `entrypoint` needs a `command`, and a program has a name.
        NothingToRun = "nothing-to-run",
        /// `working_dir` is an absolute path.
        BadWorkingDir = "bad-working-dir",
        /// `user` is `USER` or `USER:GROUP`, and an entry of `group_add` a group, each a name or a number.
        BadUser = "bad-user",
        /// `hostname` is a host name of at most 64 characters.
        BadHostname = "bad-hostname",
        /// With the host's own network, the host's own name applies.
        HostnameOnHostNetwork = "hostname-on-host-network",
        /// A variable has a name without `=`, and a value of its own.
        BadVariable = "bad-variable",
        /// A label has a name.
        BadLabel = "bad-label",
        /// A port is a number from 1 to 65535, and an entry of `ports` says where it is found on the host.
        BadPort = "bad-port",
        /// An entry of `dns` is an IP address, one of `dns_search` a domain, one of `dns_opt` an option of resolv.conf(5).
        BadDns = "bad-dns",
        /// An entry of `extra_hosts` is a name with an IP address or `host-gateway`.
        BadExtraHost = "bad-extra-host",
        /// What goes over a network is said only where there is a network for it.
        NeedsNetwork = "needs-network",
        /// A mount names its target, and what is mounted there.
        BadMount = "bad-mount",
        /// A capability is one that Linux knows.
        BadCapability = "bad-capability",
        /// An entry of `security_opt` is one that has a meaning here.
        BadSecurityOption = "bad-security-option",
        /// A device is a file of the host, or named as the Container Device Interface names it.
        BadDevice = "bad-device",
        /// A limit of processes has a known name, and its soft value is at most its hard one.
        BadUlimit = "bad-ulimit",
        /// A kernel parameter belongs to the container's own namespaces.
        BadSysctl = "bad-sysctl",
        /// A health check asks in one way, which says all that is needed.
        BadHealthcheck = "bad-healthcheck",
        /// No key contradicts another.
        Conflict = "conflict",
        /// `restart` is a restart policy.
        BadRestart = "bad-restart",
        /// `stop_signal` is a signal.
        BadSignal = "bad-signal",
        /// An entry of `nested.images` is a registry's repository, or a pattern over such.
        BadImagePattern = "bad-image-pattern",
        /// A length of time is a number with a unit.
        BadDuration = "bad-duration",
        /// A size is a number with a unit.
        BadSize = "bad-size",
        /// A memory limit leaves room for a process to start.
        MemoryTooSmall = "memory-too-small",
        /// `cpus` is a number of CPUs that exists.
        BadCpus = "bad-cpus",
        /// `cpuset` is a list of CPU numbers.
        BadCpuset = "bad-cpuset",
        /// `parallelism` is a number of hosts or a share of the targets.
        BadParallelism = "bad-parallelism",
    }
    others {
        /// A repository has a URL that names it and nothing else: no password, no option, no program to run.
        BadUrl = "bad-url",
        /// A branch or tag pattern is one that git-check-ref-format(1) allows.
        BadReference = "bad-reference",
        /// A path or pattern stays in the folder that it is about.
        BadPath = "bad-path",
        /// A secret is named, and its value stands nowhere.
        BadSecret = "bad-secret",
        /// A schedule is five fields, as crontab(5) has them, and its time comes.
        BadSchedule = "bad-schedule",
        /// A repository of the image centre is components of `a-z`, digits and separators.
        BadRepository = "bad-repository",
        /// A tag is at most 128 letters, digits and `.`, `_`, `-`.
        BadTag = "bad-tag",
        /// A platform is `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`, as images have them.
        BadPlatform = "bad-platform",
        /// An owner is `USER` or `USER:GROUP`, as numbers.
        BadOwner = "bad-owner",
        /// A mode is permission bits in octal.
        BadMode = "bad-mode",
        /// `workload` is a workload's name.
        BadWorkload = "bad-workload",
        /// Who is told is `webhook:URL` or `email:ADDRESS`.
        BadNotifyTarget = "bad-notify-target",
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The broken rule.
    pub rule: Rule,
    /// The place, in bytes of the text. `0..0` for what is missing from the text as a whole.
    pub span: Range<usize>,
    /// What is wrong, in one line, lower case.
    pub message: String,
    /// What to say at the place itself.
    pub label: Option<String>,
    /// A second place that explains the first, and what to say there.
    pub related: Option<(Range<usize>, String)>,
    /// The cure.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(rule: Rule, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { rule, span, message: message.into(), label: None, related: None, hint: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one text: never empty, in order of place, at most [`MISTAKES_MAX`]. Displays as one line without
/// a place; see [`Diagnostics::summary`] for one with, and [`Diagnostics::render`] for all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    /// How many more there were.
    pub(super) left_out: usize,
}

impl Diagnostics {
    /// Sorts by place and keeps the first [`MISTAKES_MAX`]. None if there are none.
    pub(super) fn new(mut found: Vec<Diagnostic>) -> Option<Self> {
        // Stable, so that mistakes of one place stay in the order in which they were found.
        found.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        let left_out = found.len().saturating_sub(MISTAKES_MAX);
        found.truncate(MISTAKES_MAX);
        if found.is_empty() { None } else { Some(Self { kept: found, left_out }) }
    }

    /// A text with this one mistake.
    pub(super) fn one(diagnostic: Diagnostic) -> Self {
        Self { kept: vec![diagnostic], left_out: 0 }
    }

    /// The mistakes, in order of place.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.kept.iter()
    }

    /// How many mistakes the text has, those that were not kept included.
    pub fn count(&self) -> usize {
        self.kept.len() + self.left_out
    }

    /// The mistake to tell first: the first one that has a place. That a key is missing is often only what a misspelt or unclosed
    /// one further down looks like from above.
    pub fn first(&self) -> &Diagnostic {
        self.kept.iter().find(|diagnostic| diagnostic.rule != Rule::MissingKey).unwrap_or(&self.kept[0])
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first().message)?;
        match self.count() - 1 {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl std::error::Error for Diagnostics {}
