//! The life of a daemon: mount, answer, notice changes, end.
//!
//! Three threads beside the workers: one looks at the source now and then, one tells the kernel what to
//! forget (holding no lock: the kernel may ask us something before it answers), one waits for signals. And for a
//! moment one that says that the mount answers, which may take as long as whoever is told likes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use fuser::{INodeNo, Notifier, Session};
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;

use super::adapter::Adapter;
use super::options::MountOptions;
use super::patience::contained;
use super::table::{self, Mount};
use super::{kernel, readahead, unmount};
use crate::error::{Error, Result};
use crate::format::{self, OpenOptions};
use crate::store::{CacheFolder, Location, Source, Stamp};
use crate::volume::{self, Invalidation, Volume};

/// How often the source is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// What the indexes of packed files may take on disk. An eighth of the decoded size is usual, so this is enough for
/// some 16 GiB.
const CACHE: u64 = 2 << 30;
/// How long open files are served after a signal has ended the mount.
const GRACE: Duration = Duration::from_secs(5);

/// What is mounted where.
#[derive(Debug, Clone)]
pub struct Mounting {
    /// The project.
    pub source: PathBuf,
    /// The directory.
    pub dir: PathBuf,
    /// `-o`
    pub options: MountOptions,
}

/// Mounts, calls `ready` when the mount answers, and returns when it has ended. That is at once where `ready` fails.
pub fn run(mounting: &Mounting, ready: impl FnOnce(&Volume) -> Result<()> + Send + 'static) -> Result<()> {
    let Mounting { source, dir, options } = mounting;
    super::memory::share();
    // Blocked before any thread exists, so that only the thread that waits for them gets them.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|e| Error::io("block signals of", dir, e))?;
    // These mean nothing here, and would leave a dead mount.
    let stray = SigSet::from_iter([
        Signal::SIGALRM,
        Signal::SIGIO,
        Signal::SIGPROF,
        Signal::SIGPWR,
        Signal::SIGSTKFLT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGVTALRM,
        Signal::SIGXCPU,
    ]);
    stray.thread_block().map_err(|e| Error::io("block signals of", dir, e))?;

    let mounted: Arc<Mutex<Option<Mount>>> = Arc::default();
    let own = mounted.clone();
    let _ = spawn("vaso-signals", move || wait_for_signals(&signals, &own));

    // The source is opened before the mount covers anything.
    let source = Source::open_settled(Arc::new(Location::find(source)?))?;
    let point = prepare(dir)?;
    refuse_inside(&source, &point)?;
    let volume_options = volume_options(options);
    let project = format::open(source.clone(), volume_options.open.clone())?;
    let volume = Arc::new(Volume::new(project, volume_options));
    let adapter = Adapter::new(volume.clone(), !options.noxattr, !options.nopassthrough);
    let session =
        kernel::mount(adapter, source.path(), &point, options).map_err(|e| cannot_mount(&point, e))?;
    let mount = table::at(&point).map_err(|e| {
        let _ = unmount::detach(&point);
        Error::Refused(format!("cannot mount at {}: {e}", point.display()))
    })?;
    mount.as_ref().inspect(|mount| readahead::widen(mount));
    let mounted_as = mount.clone();
    *mounted.lock() = mount;
    log::info!("{} is mounted at {}", source.path().display(), point.display());

    let (to_kernel, forget) = mpsc::channel();
    volume.notify(to_kernel);
    let notifier = session.notifier();
    let _ = spawn("vaso-forget", move || tell_kernel(&notifier, forget));
    let watched = Arc::downgrade(&volume);
    let _ = spawn("vaso-watch", move || {
        while let Some(volume) = watched.upgrade() {
            // A defect that shows in one state of the source must not keep the next from being seen.
            contained(|| {
                if let Err(e) = volume.refresh() {
                    log::warn!("{e}");
                }
            });
            drop(volume);
            std::thread::sleep(LOOK);
        }
    });
    let failed = Arc::<Mutex<Option<Error>>>::default();
    let why = failed.clone();
    let _ = spawn("vaso-ready", move || {
        if let Err(e) = ready(&volume) {
            drop(volume);
            *why.lock() = Some(e);
            // As if somebody else had asked for it: the thread that waits for signals knows how.
            let _ = nix::sys::signal::kill(nix::unistd::getpid(), Signal::SIGTERM);
        }
    });
    let ended = serve(session);
    if ended.is_err() {
        // Nobody answers any more.
        let is_there = table::at(&point).is_ok_and(|there| there.is_some() && there == mounted_as);
        if is_there && let Err(e) = unmount::detach(&point) {
            log::error!("{e}");
        }
    }
    log::info!("{} is unmounted", point.display());
    match failed.lock().take() {
        Some(e) => Err(e),
        None => ended.map_err(|e| Error::io("serve", &point, e)),
    }
}

/// Answers until the mount has ended.
///
/// The library would unmount once more then, by the path, and whatever was mounted there meanwhile with it. So what it
/// does that with is forgotten, and ends with the process.
fn serve(session: Session<Adapter>) -> std::io::Result<()> {
    let mut running = session.spawn()?;
    let nobody = std::thread::spawn(|| Ok(()));
    let answering = std::mem::replace(&mut running.guard, nobody);
    std::mem::forget(running);
    answering
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("a thread has met a defect of this program")))
}

/// Ends the mount when a signal comes; before there is one, the program.
fn wait_for_signals(signals: &SigSet, mounted: &Mutex<Option<Mount>>) {
    while let Ok(signal) = signals.wait() {
        let Some(mount) = mounted.lock().clone() else { std::process::exit(128 + signal as i32) };
        log::info!("{signal}: unmounting {}", mount.point.display());
        // Ours may be gone already (detached), and another one be there now, which is none of our business.
        let ours = table::at(&mount.point).is_ok_and(|there| there.as_ref() == Some(&mount));
        if ours && unmount::end(&mount.point, unmount::WHEN_IDLE).is_ok() {
            continue;
        }
        // Somebody is still inside. The directory is free at once; who has files open keeps them for a moment.
        if ours && let Err(e) = unmount::detach(&mount.point) {
            log::error!("{e}");
            continue;
        }
        std::thread::sleep(GRACE);
        std::process::exit(0);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).expect("the system has threads")
}

fn tell_kernel(notifier: &Notifier, forget: mpsc::Receiver<Invalidation>) {
    use std::os::unix::ffi::OsStrExt;
    for one in forget {
        let told = match &one {
            Invalidation::Name(parent, name) => {
                notifier.inval_entry(INodeNo(*parent), std::ffi::OsStr::from_bytes(name))
            }
            Invalidation::Inode(ino) => notifier.inval_inode(INodeNo(*ino), 0, -1),
        };
        if let Err(e) = told {
            log::debug!("the kernel did not take {one:?}: {e}");
        }
    }
}

/// The mount point, after a dead mount on it was cleared away.
fn prepare(dir: &Path) -> Result<PathBuf> {
    let point = table::resolve(dir)?;
    match std::fs::metadata(&point) {
        Ok(meta) if meta.is_dir() => match table::at(&point)? {
            Some(mount) if mount.is_ours() => Err(Error::Busy(format!(
                "{} is already a mount of vaso; unmount it first (vaso umount {})",
                point.display(),
                point.display()
            ))),
            _ => Ok(point),
        },
        Ok(_) => Err(Error::Refused(format!("cannot mount at {}: it is not a directory", point.display()))),
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ENOTCONN as i32) => match table::at(&point)? {
            Some(mount) if mount.kind.starts_with("fuse") => {
                log::warn!("{}: clearing away a dead mount", point.display());
                unmount::detach(&point)?;
                Ok(point)
            }
            _ => Err(Error::Refused(format!("cannot mount at {}: {e}", point.display()))),
        },
        Err(e) => {
            Err(Error::Refused(format!("cannot mount at {}: {e}; create the directory", point.display())))
        }
    }
}

/// A project is not shown inside itself: it would hold what it shows, and so on.
fn refuse_inside(source: &Source, point: &Path) -> Result<()> {
    let is_source = |folder: &Path| {
        std::fs::metadata(folder).is_ok_and(|meta| Stamp::of(&meta).file == source.stamp().file)
    };
    match point.ancestors().skip(1).any(is_source) {
        true => Err(Error::Refused(format!(
            "cannot mount at {}: it lies in the project {}; name a directory outside of it, or the project itself",
            point.display(),
            source.path().display()
        ))),
        false => Ok(()),
    }
}

fn volume_options(options: &MountOptions) -> volume::Options {
    volume::Options {
        uid: options.uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
        gid: options.gid.unwrap_or_else(|| nix::unistd::getegid().as_raw()),
        umask: options.umask,
        open: OpenOptions { cache: cache(options), ..options.open.clone() },
    }
}

/// The folder for indexes. Without one, seeking in large packed files is slower, and nothing else is different.
fn cache(options: &MountOptions) -> Option<Arc<CacheFolder>> {
    if options.nocache {
        return None;
    }
    let help = "name a folder (--cache FOLDER), or do without (--no-cache)";
    let Some(path) = options.cache.clone().or_else(CacheFolder::usual) else {
        log::warn!("no index is kept on disk: there is no home to keep it in; {help}");
        return None;
    };
    match CacheFolder::open(&path, CACHE) {
        Ok(folder) => Some(Arc::new(folder)),
        Err(e) => {
            log::warn!("no index is kept in {}: {e}; {help}", path.display());
            None
        }
    }
}

/// A mount that failed, with what helps in the usual cases.
fn cannot_mount(point: &Path, error: std::io::Error) -> Error {
    let text = error.to_string();
    let text = text.trim().trim_start_matches("fusermount3: ").trim_start_matches("fusermount: ");
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let help = if missing && !Path::new("/dev/fuse").exists() {
        "/dev/fuse is missing; load the kernel module (modprobe fuse), or give the container the device"
    } else if missing {
        "fusermount3 is missing; install the package fuse3"
    } else if text.contains("user_allow_other") {
        "the administrator has to put `user_allow_other` into /etc/fuse.conf, or leave out allow_other"
    } else if error.kind() == std::io::ErrorKind::PermissionDenied {
        "you need access to /dev/fuse and to the directory"
    } else {
        "see the message of the system"
    };
    Error::Refused(format!("cannot mount at {}: {text}; {help}", point.display()))
}
