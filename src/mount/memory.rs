//! How the daemon's memory is shared out among its threads.
//!
//! glibc gives nearly every thread an arena of its own, and what one thread gives back there the others do not get:
//! readers of packed files, whose pieces go from thread to thread, then take half as much again as they hold. Two
//! arenas are enough for threads that hardly allocate.
//!
//! The module has unsafe code because nothing safe offers this call. It takes two numbers, and touches no memory of
//! ours.

#![allow(unsafe_code)]

/// Has all threads share two arenas. To be called before there are any.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: numbers alone are passed, both from the interface's own list.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
