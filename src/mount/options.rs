//! The options of `-o`, as mount(8) and fuse know them.
//!
//! What a mount understands it does; what belongs to mount(8), to fstab or to other file systems and means
//! nothing here is passed over; anything else is an error, which names the option that was probably meant.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::{OpenOptions, Pin};
use crate::tree::Time;

/// What `-o` said.
#[derive(Debug, Clone, Default)]
pub struct MountOptions {
    /// Owner of everything, instead of who mounts.
    pub uid: Option<u32>,
    /// Group of everything, instead of that of who mounts.
    pub gid: Option<u32>,
    /// Permission bits to take away.
    pub umask: u16,
    /// Let every user in.
    pub allow_other: bool,
    /// Let root in, beside who mounts.
    pub allow_root: bool,
    /// Have the kernel check permission bits.
    pub default_permissions: bool,
    /// Give no extended attributes at all; `ls -l` asks for them file by file.
    pub noxattr: bool,
    /// How the project is opened.
    pub open: OpenOptions,
    /// Where indexes are kept, instead of the user's usual folder.
    pub cache: Option<PathBuf>,
    /// Keep no indexes on disk.
    pub nocache: bool,
    /// Have the daemon read whole files too, which the kernel could do by itself.
    pub nopassthrough: bool,
    /// A source that is not there is no error.
    pub nofail: bool,
    /// Flags that the kernel understands and that are no harm: noexec, and so on.
    pub flags: Vec<String>,
    /// Security labels for the kernel, as `context=...`.
    pub labels: Vec<String>,
    /// What was passed over and may have been meant otherwise; for whoever speaks to people.
    pub warnings: Vec<String>,
}

/// Options with a meaning here, for the error of an unknown one.
const KNOWN: &[&str] = &[
    "ro",
    "rw",
    "allow_other",
    "allow_root",
    "default_permissions",
    "uid=",
    "gid=",
    "umask=",
    "check",
    "raw",
    "snapshot=",
    "at=",
    "noxattr",
    "cache=",
    "nocache",
    "nopassthrough",
    "nofail",
    "noexec",
];

/// Flags of every mount.
const FLAGS: &[&str] = &["exec", "noexec", "atime", "noatime", "nodev", "nosuid", "sync", "async", "dirsync"];

/// What belongs to mount(8), fstab and systemd. (A project has neither devices nor setuid files; the kernel
/// keeps `nodev` and `nosuid` whatever is said.)
const PASSED_OVER: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "_rnetdev",
    "dev",
    "suid",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "diratime",
    "nodiratime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "symfollow",
    "nosymfollow",
    "silent",
    "loud",
    "nonempty",
    "auto_unmount",
    "kernel_cache",
    "auto_cache",
    // What the kernel's table shows of any mount where labels are in use.
    "seclabel",
];

/// Security labels of SELinux, whose values are between quotes where they have commas.
const LABELS: &[&str] = &["context", "fscontext", "defcontext", "rootcontext"];

impl MountOptions {
    /// Reads the texts of all `-o`, each a list with commas.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<MountOptions> {
        MountOptions::read(texts, false)
    }

    /// The same, passing over what is unknown.
    pub fn parse_known<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<MountOptions> {
        MountOptions::read(texts, true)
    }

    fn read<S: AsRef<str>>(texts: impl IntoIterator<Item = S>, sloppy: bool) -> Result<MountOptions> {
        let mut options = MountOptions::default();
        for text in texts {
            for option in split(text.as_ref())?.into_iter().map(str::trim).filter(|o| !o.is_empty()) {
                match options.take(option)? {
                    true => {}
                    false if sloppy => {
                        options.warnings.push(format!("option {option:?} is unknown, and passed over"));
                    }
                    false => return Err(unknown(option)),
                }
            }
        }
        if options.allow_other && options.allow_root {
            return Err(Error::Usage("allow_other and allow_root exclude each other; give one".into()));
        }
        // Whoever says what permissions are shown to others means them.
        let says = options.uid.is_some() || options.gid.is_some() || options.umask != 0;
        options.default_permissions |= options.allow_other && says;
        Ok(options)
    }

    /// False for an option that is unknown.
    fn take(&mut self, option: &str) -> Result<bool> {
        let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
        match (name, value) {
            ("ro", None) => {}
            // Writing comes with a later version; a mount for writing that cannot write would mislead.
            ("rw", None) => self.warnings.push("this version mounts read-only; `rw` is ignored".into()),
            ("uid", Some(v)) => self.uid = Some(number(option, v, 10)?),
            ("gid", Some(v)) => self.gid = Some(number(option, v, 10)?),
            ("umask", Some(v)) => {
                let mask = number(option, v, 8)?;
                self.umask = u16::try_from(mask).ok().filter(|m| *m <= 0o777).ok_or_else(|| {
                    Error::Usage(format!("option {option}: a umask is three octal digits, as umask=022"))
                })?;
            }
            ("allow_other", None) => self.allow_other = true,
            ("allow_root", None) => self.allow_root = true,
            ("default_permissions", None) => self.default_permissions = true,
            ("noxattr", None) => self.noxattr = true,
            ("cache", Some(folder)) if folder.starts_with('/') => self.cache = Some(folder.into()),
            ("cache", Some(_)) => {
                return Err(Error::Usage(format!("option {option}: the folder has to be an absolute path")));
            }
            ("nocache", None) => self.nocache = true,
            ("check", None) => self.open.check = true,
            ("raw", None) => self.open.raw = true,
            ("snapshot", Some(v)) => {
                let digits = v.trim_end_matches(".sqlite");
                let number = digits.parse().map_err(|_| {
                    Error::Usage(format!("option {option}: a snapshot has a number, as snapshot=42"))
                })?;
                self.pin(Pin::Number(number))?;
            }
            ("at", Some(v)) => {
                let time = Time::parse_last(v).ok_or_else(|| {
                    let how = "a time is a date that there is, written as at=2026-03-01T12:00Z";
                    Error::Usage(format!("option {option}: {how}"))
                })?;
                self.pin(Pin::At(time))?;
            }
            ("nopassthrough", None) => self.nopassthrough = true,
            ("nofail", None) => self.nofail = true,
            (flag, None) if FLAGS.contains(&flag) => self.flags.push(flag.to_string()),
            (name, None) if PASSED_OVER.contains(&name) => {}
            // `x-` is for user space, `X-` for mount(8); these have values that belong to others.
            (name, _) if name.starts_with("x-") || name.starts_with("X-") => {}
            (name, Some(_)) if LABELS.contains(&name) => self.labels.push(option.to_string()),
            ("fsname" | "subtype" | "comment" | "max_read" | "user", Some(_)) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl MountOptions {
    /// One state is shown, so one may be asked for.
    fn pin(&mut self, pin: Pin) -> Result<()> {
        match self.open.pin.replace(pin) {
            Some(before) if before != pin => Err(Error::Usage(format!(
                "{} and {} ask for two states; give one",
                before.for_people(),
                pin.for_people()
            ))),
            _ => Ok(()),
        }
    }
}

/// The options of one text. A comma between quotes is part of a value.
fn split(text: &str) -> Result<Vec<&str>> {
    let mut quoted = false;
    let ends = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    let options = text.split(ends).collect();
    match text.matches('"').count() % 2 {
        0 => Ok(options),
        _ => Err(Error::Usage(format!("options {text}: a quote is not closed"))),
    }
}

fn number(option: &str, value: &str, radix: u32) -> Result<u32> {
    u32::from_str_radix(value, radix).map_err(|_| {
        let kind = if radix == 8 { "an octal number" } else { "a number" };
        Error::Usage(format!("option {option}: {value:?} is not {kind}"))
    })
}

fn unknown(option: &str) -> Error {
    let name = option.split('=').next().unwrap_or(option);
    let distance_to = |known: &&&str| distance(name, known.trim_end_matches('='));
    let all: Vec<&str> = KNOWN.iter().chain(FLAGS).chain(PASSED_OVER).copied().collect();
    let nearest = all.iter().min_by_key(distance_to).copied().unwrap_or_default();
    Error::Usage(format!(
        "unknown option {option:?}; did you mean {nearest:?}? (`vaso mount --help` lists them)"
    ))
}

/// How many letters have to be inserted, deleted or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_fstab_says() {
        let texts =
            ["ro,uid=1000,gid=100", "umask=027,nofail,_netdev,x-systemd.automount,noauto,user,noexec"];
        let options = MountOptions::parse(texts).unwrap();
        assert_eq!((options.uid, options.gid, options.umask), (Some(1000), Some(100), 0o027));
        assert!(options.nofail);
        assert_eq!(options.flags, ["noexec"]);
    }

    #[test]
    fn what_others_may_is_checked_where_somebody_has_said_what() {
        for (text, is_checked) in [
            ("allow_other", false),
            ("umask=077", false),
            ("allow_other,umask=077", true),
            ("uid=3,allow_other", true),
        ] {
            assert_eq!(MountOptions::parse([text]).unwrap().default_permissions, is_checked, "{text}");
        }
    }

    #[test]
    fn what_mount_and_its_users_put_beside_is_accepted_and_labels_go_to_the_kernel() {
        let text = "rw,auto,noauto,user=me,nouser,owner,group,_netdev,_rnetdev,nofail,comment=systemd.automount,\
                    x-systemd.automount,x-systemd.idle-timeout=1min,x-systemd.requires=/data,x-gvfs-show,\
                    x-gvfs-name=My%20study,X-mount.mkdir=0755,seclabel,symfollow,lazytime,defaults";
        let options = MountOptions::parse([text]).unwrap();
        assert!(options.nofail && options.labels.is_empty() && options.warnings.len() == 1);
        let label = r#"context="system_u:object_r:fusefs_t:s0:c127,c456""#;
        let others = "fscontext=a:b:c,defcontext=a:b:d,rootcontext=a:b:e";
        let options = MountOptions::parse([format!("ro,{label},noexec,{others}")]).unwrap();
        assert_eq!(options.labels[0], label);
        assert_eq!(options.labels[1..].join(","), others);
        assert_eq!(options.flags, ["noexec"]);
        for wrong in [r#"context="a:b:c,ro"#, "context", "seclabel=1", "secontext=a:b:c", "loop", "mode=700"]
        {
            assert!(matches!(MountOptions::parse([wrong]), Err(Error::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        for (wrong, meant) in
            [("alow_other", "allow_other"), ("uit=3", "uid="), ("default_permission", "default_permissions")]
        {
            let error = MountOptions::parse([wrong]).unwrap_err().to_string();
            assert!(error.contains(&format!("{meant:?}")), "{error}");
        }
    }

    #[test]
    fn values_are_checked() {
        for wrong in [
            "uid=me",
            "umask=8",
            "umask=1777",
            "uid",
            "allow_other,allow_root",
            "ro=1",
            "at=2026-02-30",
            "snapshot=2,at=2026-03-01",
            "at=2026-03-01,snapshot=2",
            "snapshot=2,snapshot=3",
        ] {
            assert!(matches!(MountOptions::parse([wrong]), Err(Error::Usage(_))), "{wrong}");
        }
    }
}
