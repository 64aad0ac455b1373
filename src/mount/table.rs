//! The kernel's table of mounts, read without touching a mount: a dead one would hang or fail.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The device number that the kernel gave it, which tells it from a later mount at the same place.
    pub device: String,
    /// The type of file system, as `fuse.vaso`.
    pub kind: String,
}

impl Mount {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.kind == super::kernel::TYPE
    }
}

/// The mount at exactly `point`, the topmost if there are several.
pub fn at(point: &Path) -> Result<Option<Mount>> {
    Ok(all()?.into_iter().rev().find(|m| m.point == point))
}

/// All mounts, in the order in which they were made.
pub fn all() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /root /mount/point options - type source ...`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let device = fields.nth(2)?;
    let point = unescape(fields.nth(1)?);
    let kind = fields.skip_while(|f| *f != b"-").nth(1)?;
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(point)),
        device: String::from_utf8_lossy(device).into_owned(),
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(d) => {
                let value = d.iter().fold(0u32, |v, c| v * 8 + u32::from(c - b'0'));
                out.push(value as u8);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// The absolute path of `dir` without looking at what is mounted there: only its parent is resolved.
pub fn resolve(dir: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(dir).map_err(|e| Error::io("find", dir, e))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Ok(absolute) };
    if name == ".." {
        return absolute.canonicalize().map_err(|e| Error::io("find", dir, e));
    }
    let parent = parent.canonicalize().map_err(|e| Error::io("find", parent, e))?;
    let point = parent.join(name);
    // A symbolic link to a mount point is followed; lstat of the link itself touches no mount.
    match std::fs::read_link(&point) {
        Ok(_) => point.canonicalize().map_err(|e| Error::io("find", dir, e)),
        Err(_) => Ok(point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_lines() {
        let line = b"86 29 0:45 / /mnt/my\\040study rw,nosuid - fuse.vaso Study.vaso rw,user_id=0";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my study"));
        assert!(mount.is_ours() && mount.device == "0:45");
        let tagged = b"86 29 0:45 / /m rw shared:3 master:1 - ext4 /dev/sda rw";
        assert_eq!(parse(tagged).unwrap().kind, "ext4");
        assert_eq!(parse(b""), None);
    }
}
