//! Opens a name in a folder, and never what a mount of ours covers it with.
//!
//! Such a mount may lie over the very source that it shows, in it, or beside it. Whoever asks it for anything, and be it
//! for a `stat`, waits for its process. If that is the one that asks, it waits for itself; two could wait for each other;
//! and nothing ends such a wait. So a name is looked up by a way that ends at the edge of a mount, and whose mount it is
//! comes from the kernel's table, which asks nobody.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// The type of file system by which the kernel's table tells our mounts.
pub const MOUNT_TYPE: &str = "fuse.vaso";

/// Why a name that a mount of ours covers is not opened.
pub const COVERED: Errno = Errno::EXDEV;

/// Opens `name` without following a link in its place; [`COVERED`] where a mount of ours is.
pub fn open(above: BorrowedFd<'_>, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(above, name, how) {
        Err(Errno::EXDEV) => {}
        // Before Linux 5.6.
        Err(Errno::ENOSYS) => return openat(above, name, flags, Mode::empty()),
        other => return other,
    }
    if is_ours(&look(above, name)?) {
        return Err(COVERED);
    }
    openat(above, name, flags, Mode::empty())
}

/// The same, of a file or folder whose reader may have its access time left alone: its owner.
pub fn open_quietly(open: impl Fn(OFlag) -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    match open(OFlag::O_NOATIME) {
        Err(Errno::EPERM) => open(OFlag::empty()),
        other => other,
    }
}

/// Whether a descriptor is of a mount of ours. It asks nobody who may have to answer for one.
pub fn is_ours(of: &OwnedFd) -> bool {
    let text = |path: &str| std::fs::read(path).unwrap_or_default();
    let about = text(&format!("/proc/self/fdinfo/{}", of.as_raw_fd()));
    let number = about.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
    number.is_some_and(|number| has(&text("/proc/self/mountinfo"), number.trim_ascii()))
}

/// Whether the table of mounts has one of this number and of our type.
fn has(table: &[u8], number: &[u8]) -> bool {
    table.split(|b| *b == b'\n').any(|line| {
        let mut fields = line.split(|b| *b == b' ');
        fields.next() == Some(number)
            && fields.skip_while(|field| *field != b"-").nth(1) == Some(MOUNT_TYPE.as_bytes())
    })
}

/// What a name leads to, unopened: to come to the top of a mount asks nobody either.
fn look(above: BorrowedFd<'_>, name: &OsStr) -> nix::Result<OwnedFd> {
    openat(above, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_a_mount_of_ours_is_ours() {
        let table = b"29 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
            86 29 0:45 / /mnt/a rw,nosuid shared:3 - fuse.vaso Study.vaso rw,user_id=0\n\
            87 29 0:46 / /mnt/- rw - fuse.sshfs fuse.vaso rw\n";
        assert!(has(table, b"86"));
        assert!(!has(table, b"29") && !has(table, b"87") && !has(table, b"8") && !has(table, b""));
    }

    #[test]
    fn other_mounts_are_opened_as_what_they_are() {
        let root = std::fs::File::open("/").unwrap();
        let proc = open(root.as_fd(), OsStr::new("proc"), OFlag::O_PATH).unwrap();
        assert!(open(proc.as_fd(), OsStr::new("self"), OFlag::O_PATH).is_ok());
        let link = open(proc.as_fd(), OsStr::new("mounts"), OFlag::O_RDONLY);
        assert_eq!(link.err(), Some(Errno::ELOOP));
        assert!(!is_ours(&proc));
    }
}
