//! Called as `mount.vaso` or `mount.fuse.vaso`, the program is the helper of mount(8):
//! `mount.vaso SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`. There `-f` means "fake", and `-s`
//! passes over unknown options.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::exit::Exit;

/// Whether the program is called by a helper's name.
pub fn is_called(args: &[OsString]) -> bool {
    let name = args.first().and_then(|arg| Path::new(arg).file_name());
    name.is_some_and(|name| name == "mount.vaso" || name == "mount.fuse.vaso")
}

/// The same as arguments of `vaso mount`.
pub fn translate(args: Vec<OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["vaso".into(), "mount".into()];
    let mut names = Vec::new();
    let mut rest = args.into_iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("-o") => out.extend([Some(arg), rest.next()].into_iter().flatten()),
            // Which type and which namespace: settled by the time that we are called.
            Some("-t" | "-N") => drop(rest.next()),
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                for (flag, ours) in [('f', "--fake"), ('s', "--sloppy"), ('v', "--verbose")] {
                    out.extend(flags.contains(flag).then(|| ours.into()));
                }
            }
            _ => names.push(arg),
        }
    }
    out.push("--".into());
    out.extend(names);
    out
}

/// The exit code that mount(8) knows: 1 for a wrong call, 32 for a mount that failed.
pub fn exit(exit: Exit) -> ExitCode {
    match exit {
        Exit::Done | Exit::Of(0) => ExitCode::SUCCESS,
        Exit::Usage | Exit::Of(64) => ExitCode::from(1),
        _ => ExitCode::from(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        assert!(is_called(&args));
        let out = translate(args);
        out.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn speaks_as_mount_does() {
        for (theirs, ours) in [
            ("/sbin/mount.vaso a.vaso /mnt -o ro,uid=3", "vaso mount -o ro,uid=3 -- a.vaso /mnt"),
            ("mount.fuse.vaso -o ro a.vaso /mnt -sn", "vaso mount -o ro --sloppy -- a.vaso /mnt"),
            ("mount.vaso a.vaso /mnt -fv -t vaso -N 7", "vaso mount --fake --verbose -- a.vaso /mnt"),
        ] {
            assert_eq!(translated(theirs), ours);
        }
    }
}
