//! Opens a name in a folder, and never what a mount of ours covers it with.
//!
//! Such a mount may lie over the very source that it shows, in it, or beside it. Whoever asks it for anything, and be it
//! for a `stat`, waits for its process. If that is the one that asks, it waits for itself; two could wait for each other;
//! and nothing ends such a wait. So a name is looked up by a way that ends at the edge of a mount, and whose mount it is
//! comes from the kernel's table, which asks nobody.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

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
    if !has_openat2() {
        return open_with_a_look(above, name, flags);
    }
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(above, name, how) {
        Err(Errno::EXDEV) => open_with_a_look(above, name, flags),
        other => other,
    }
}

/// Opens `name` when what it leads to is seen to be no mount of ours.
fn open_with_a_look(above: BorrowedFd<'_>, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let found = look(above, name)?;
    // Whoever is inside one already has asked it, and may go on.
    let mount = mount_of(found.as_fd());
    if mount != mount_of(above) && is_of_ours(mount) {
        return Err(COVERED);
    }
    openat(above, name, flags, Mode::empty())
}

/// Whether `openat2` is there, and allowed. Linux before 5.6 does not have it, and a container's filter of system calls
/// that does not know it may say of it that it is not permitted. It does not begin, or end, while a process runs; and
/// what is asked for here is never refused for its own sake.
fn has_openat2() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
        let probed = openat2(nix::fcntl::AT_FDCWD, ".", how);
        !matches!(probed, Err(Errno::ENOSYS | Errno::EPERM))
    })
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
    is_of_ours(mount_of(of.as_fd()))
}

/// The number of the mount that a descriptor is of, as the kernel's table has it.
fn mount_of(of: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let about = std::fs::read(format!("/proc/self/fdinfo/{}", of.as_raw_fd())).ok()?;
    let number = about.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"))?;
    Some(number.trim_ascii().to_vec())
}

fn is_of_ours(mount: Option<Vec<u8>>) -> bool {
    let table = || std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    mount.is_some_and(|number| has(&table(), &number))
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
        // The second is the way without `openat2`.
        for open in [open, |above: BorrowedFd<'_>, name: &OsStr, flags| {
            open_with_a_look(above, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        }] {
            let root = std::fs::File::open("/").unwrap();
            let proc = open(root.as_fd(), OsStr::new("proc"), OFlag::O_PATH).unwrap();
            assert!(open(proc.as_fd(), OsStr::new("self"), OFlag::O_PATH).is_ok());
            let link = open(proc.as_fd(), OsStr::new("mounts"), OFlag::O_RDONLY);
            assert_eq!(link.err(), Some(Errno::ELOOP));
            let none = open(proc.as_fd(), OsStr::new("none"), OFlag::O_RDONLY);
            assert_eq!(none.err(), Some(Errno::ENOENT));
            assert!(!is_ours(&proc) && mount_of(proc.as_fd()) != mount_of(root.as_fd()));
        }
    }
}
