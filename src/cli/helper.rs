//! Called as `mount.vaso` or `mount.fuse.vaso`, the program is the helper of mount(8):
//! `mount.vaso SOURCE DIR [-sfnv] [-o OPTIONS]`. There `-f` means "fake", and `-s` tolerates unknown options.

use std::ffi::OsString;
use std::path::Path;

/// Whether the program is called by a helper's name.
pub fn is_called(args: &[OsString]) -> bool {
    let name = args.first().and_then(|arg| Path::new(arg).file_name());
    name.is_some_and(|name| name == "mount.vaso" || name == "mount.fuse.vaso")
}

/// The same as arguments of `vaso mount`.
pub fn translate(args: Vec<OsString>) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["vaso".into(), "mount".into()];
    let mut rest = args.into_iter().skip(1);
    let mut fake = false;
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("-o") => {
                out.push(arg);
                out.extend(rest.next());
            }
            Some(flags) if flags.len() > 1 && flags.starts_with('-') && !flags.starts_with("-o") => {
                fake |= flags.contains('f');
                out.extend(flags.contains('v').then(|| "-v".into()));
            }
            _ => out.push(arg),
        }
    }
    // "Fake" does everything but the mount; reading the project is what would be done.
    if fake {
        let source = out.iter().skip(2).find(|a| !a.to_string_lossy().starts_with('-')).cloned();
        return ["vaso".into(), "-q".into(), "info".into()].into_iter().chain(source).collect();
    }
    out
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
        assert_eq!(
            translated("/sbin/mount.vaso a.vaso /mnt -sn -o ro,uid=3"),
            "vaso mount a.vaso /mnt -o ro,uid=3"
        );
        assert_eq!(translated("mount.fuse.vaso a.vaso /mnt -v -o ro"), "vaso mount a.vaso /mnt -v -o ro");
        assert_eq!(translated("mount.vaso a.vaso /mnt -f -o ro"), "vaso -q info a.vaso");
    }
}
