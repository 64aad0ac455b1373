//! Opens a file again so that reading it leaves no access time, whoever reads: through a mount of its own that is
//! attached nowhere, and is gone with the descriptor.
//!
//! `O_NOATIME` belongs to one open file, and a kernel that reads a file on behalf of others opens it anew; only a
//! mount without access times goes with it. It takes the rights of an administrator, and Linux 5.12.
//!
//! The module has unsafe code because nothing safe offers these two system calls. What it relies on, and keeps: the
//! pointers are those of a static string and of a structure on the stack, both alive until the call returns, and the
//! descriptor that comes back is owned by nobody else.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// No access times.
const NOATIME: u64 = 0x10;
/// All ways of keeping them.
const ANY_ATIME: u64 = 0x70;

/// The same file, read without a trace.
pub fn reopen(file: &File) -> io::Result<File> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: the path is a static string, and the descriptor is open as long as `file` is borrowed.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, file.as_raw_fd(), c"".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let tree = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let attr = MountAttr { set: NOATIME, clear: ANY_ATIME, propagation: 0, userns: 0 };
    // SAFETY: path and structure outlive the call, which only reads them; the size is the structure's own.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    File::open(format!("/proc/self/fd/{}", tree.as_raw_fd()))
}
