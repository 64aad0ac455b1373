//! The mount itself: by the system call where we may, through fusermount3 where we may not.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fuser::{Config, MountOption, Session, SessionACL};
use nix::mount::MsFlags;

use super::adapter::Adapter;
use super::options::MountOptions;
use super::unmount;

/// The type of file system that the kernel's table shows.
pub const TYPE: &str = crate::store::MOUNT_TYPE;

/// Mounts, and shakes hands with the kernel.
pub fn mount(
    adapter: Adapter,
    source: &Path,
    point: &Path,
    options: &MountOptions,
) -> io::Result<Session<Adapter>> {
    let config = config(source, options);
    if !nix::unistd::geteuid().is_root() {
        if takes_labels() && !options.labels.is_empty() {
            log::warn!("only root can label a mount: {} is ignored", options.labels.join(","));
        }
        return Session::new(adapter, point, &config);
    }
    // The library's own way as root leaves out the subtype, by which the kernel's table tells whose mount it is.
    let device = OwnedFd::from(OpenOptions::new().read(true).write(true).open("/dev/fuse")?);
    let mut data = format!(
        "fd={},rootmode={:o},user_id={},group_id={}",
        device.as_raw_fd(),
        std::fs::metadata(point)?.mode() & 0o170_000,
        nix::unistd::getuid(),
        nix::unistd::getgid(),
    );
    for word in words(options, takes_labels()) {
        data.push(',');
        data.push_str(word);
    }
    let mut flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for flag in &options.flags {
        match flag.as_str() {
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            // The others describe writing, or are the default.
            _ => {}
        }
    }
    nix::mount::mount(Some(shown_source(source).as_str()), point, Some(TYPE), flags, Some(data.as_str()))?;
    Session::from_fd(adapter, device, config.acl, config).inspect_err(|_| {
        if let Err(e) = unmount::detach(point) {
            log::error!("{e}");
        }
    })
}

/// Whether the kernel labels files. Where it does not, mount(8) passes labels over, and so the same fstab serves both.
fn takes_labels() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// What the system call is told beside the device and the owner.
fn words(options: &MountOptions, labels: bool) -> Vec<&str> {
    let mut words = Vec::new();
    words.extend((options.allow_other || options.allow_root).then_some("allow_other"));
    words.extend(options.default_permissions.then_some("default_permissions"));
    words.extend(options.labels.iter().map(String::as_str).filter(|_| labels));
    words
}

fn config(source: &Path, options: &MountOptions) -> Config {
    let mut list = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::Subtype("vaso".into()),
        MountOption::FSName(shown_source(source)),
    ];
    if options.default_permissions {
        list.push(MountOption::DefaultPermissions);
    }
    for flag in &options.flags {
        match flag.as_str() {
            "noexec" => list.push(MountOption::NoExec),
            "noatime" => list.push(MountOption::NoAtime),
            _ => {}
        }
    }
    let mut config = Config::default();
    config.mount_options = list;
    config.acl = match (options.allow_other, options.allow_root) {
        (true, _) => SessionACL::All,
        (_, true) => SessionACL::RootAndOwner,
        _ => SessionACL::Owner,
    };
    // Enough that a reader that decodes does not hold up one that only looks.
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    config.n_threads = Some(cores.clamp(2, 8) + 2);
    config
}

/// The source as `df` and `mount` show it. A comma would end the option, so it is replaced.
fn shown_source(path: &Path) -> String {
    let safe = |c: char| if c == ',' || c == '\\' || c.is_control() { '_' } else { c };
    path.to_string_lossy().chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_for_a_kernel_that_knows_them() {
        let label = r#"context="system_u:object_r:fusefs_t:s0:c1,c2""#;
        let text = format!("allow_root,{label},default_permissions,rootcontext=a:b:c");
        let options = MountOptions::parse([text]).unwrap();
        assert_eq!(words(&options, false), ["allow_other", "default_permissions"]);
        assert_eq!(words(&options, true), ["allow_other", "default_permissions", label, "rootcontext=a:b:c"]);
    }
}
