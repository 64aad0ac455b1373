//! The seals of a file, hashes and signatures, and what is told of each.

use ed25519_dalek::VerifyingKey;

use super::show::hex;
use crate::finding::{Finding, Severity};

/// The code of the findings about what could not be verified.
pub const UNVERIFIED: &str = "vsf-unverified";

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealing {
    /// The hash of the file, in the header (`hb`).
    FileHash,
    /// The hash of what the file was made from (`hp`).
    Provenance,
    /// The signature of the file.
    FileSignature,
    /// The hash of a section's bytes, in its label.
    Content(String),
    /// The signature of a section.
    Section(String),
    /// Any other seal: the type of the value, as `hs` or `mb`, and the label that it stands in, if it stands in one.
    Other(String, Option<String>),
    /// The bytes from this one on, where every seal of the file ends before them.
    Behind(u64),
}

/// How the check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes are those that were sealed.
    Right,
    /// They are not.
    Wrong,
    /// They are, by the file's own key, which is none of those that were given.
    Stranger,
    /// A signature is not there that should be, for this reason.
    Missing(&'static str),
    /// That cannot be told, for this reason.
    Unverified(&'static str),
}

impl Outcome {
    /// Whether it is known what was sealed: the bytes as they are, or others.
    pub(super) fn is_told(self) -> bool {
        !matches!(self, Outcome::Unverified(_) | Outcome::Missing(_))
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub sealing: Sealing,
    /// How it went.
    pub outcome: Outcome,
    /// Whose signature it is, where it is one and fits the bytes.
    pub signer: Option<VerifyingKey>,
    /// Where it is not of the whole file, but of what that was before something was appended: how many bytes.
    pub first: Option<u64>,
}

impl Check {
    /// What is to be reported, if anything is.
    pub fn finding(&self) -> Option<Finding> {
        let (path, mut what) = self.what();
        if let Some(bytes) = self.first {
            what.push_str(&format!(" (of the first {bytes} bytes, to which others were appended)"));
        }
        match self.outcome {
            Outcome::Right => None,
            Outcome::Stranger => {
                let key = self.signer.map(|key| hex(key.as_bytes())).unwrap_or_default();
                let text = format!("{what} is by none of the given keys, but by {key}");
                let remedy =
                    "ask its maker whether that is their key; otherwise it is not the file that they made";
                Some(Finding::new(Severity::Error, "vsf-signer", path, text, remedy))
            }
            Outcome::Missing(why) => {
                let text = format!("{what} is missing: {why}");
                let remedy = "ask its maker for the signed file; this one may have been changed";
                Some(Finding::new(Severity::Error, "vsf-unsigned", path, text, remedy))
            }
            Outcome::Wrong => {
                let text = format!("{what} does not fit the bytes: they were changed after it was made");
                let remedy = "restore the file from a backup, or ask its maker";
                Some(Finding::new(Severity::Error, "vsf-seal", path, text, remedy))
            }
            Outcome::Unverified(why) => {
                let text = format!("{what} was not verified: {why}");
                Some(Finding::new(Severity::Notice, UNVERIFIED, path, text, "nothing has to be done"))
            }
        }
    }

    /// The path that it concerns, and what it is in words.
    fn what(&self) -> (&str, String) {
        let (path, what) = match &self.sealing {
            Sealing::FileHash => ("", "the hash of the file"),
            Sealing::Provenance => ("", "the provenance hash"),
            Sealing::FileSignature => ("", "the signature of the file"),
            Sealing::Content(label) => (label.as_str(), "the hash of the section"),
            Sealing::Section(label) => (label.as_str(), "the signature of the section"),
            Sealing::Behind(at) => return ("", format!("what stands from byte {at} on")),
            Sealing::Other(kind, label) => {
                let what = match kind.as_bytes().first() {
                    Some(b'h') => "the hash",
                    Some(b'g') => "the signature",
                    _ => "the authentication code",
                };
                return (label.as_deref().unwrap_or_default(), format!("{what} of type {kind}"));
            }
        };
        (path, what.into())
    }
}
