//! Who is at work in a project: two locks, of two generations of the application.
//!
//! `.lock` in a bundle is JSON (`pid`, `timestamp`, `hostname`). Its holder touches it; untouched for an hour it is
//! abandoned, whatever it says. `X.lock` beside any project is text, a process and a time; it is abandoned when that
//! process does not run on this host. One that names no process is judged as the other kind. A `.lock` of our own tells
//! more of its holder, and is abandoned as soon as that has ended for certain: the same kernel since the same start, the
//! same numbers of processes, and none of that number that began when the holder did.
//!
//! Of the two that could be wrong, to wait for nobody is the better: a lock is abandoned for certain, or it is live.
//! Reading needs none, and takes none.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::store::{Location, Stamp, path_text};

/// A lock that nobody has touched for so long is abandoned.
const STALE: Duration = Duration::from_secs(3600);
/// A lock of more bytes says nothing.
const MOST: u64 = 4096;
/// What a name of a host may have.
const LONGEST_HOST: usize = 255;

/// A lock that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// Where it lies.
    #[serde(serialize_with = "path_text::one")]
    pub path: PathBuf,
    /// Whether somebody may hold it; else it was left behind.
    pub live: bool,
    /// The process that it names.
    pub pid: Option<u32>,
    /// The host that it names.
    pub host: Option<String>,
    /// Seconds since somebody touched it; less than none for a time to come.
    pub age: i64,
    /// Whether the process that made it is known to have ended.
    #[serde(skip)]
    ended: bool,
}

impl Lock {
    /// Whose it is, in words.
    pub fn who(&self) -> String {
        let pid = self.pid.map_or("a program that it does not name".into(), |pid| format!("process {pid}"));
        let host = self.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
        format!("{pid}{host}, touched {} ago", words(self.age))
    }
}

fn words(seconds: i64) -> String {
    let (n, unit) = match seconds.max(0) {
        n @ 0..120 => (n, "second"),
        n @ 120..7200 => (n / 60, "minute"),
        n @ 7200..172_800 => (n / 3600, "hour"),
        n => (n / 86_400, "day"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// The two kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inside,
    Beside,
}

/// The places of a project's locks.
fn places(project: &Location) -> Result<Vec<(Kind, Arc<Location>)>> {
    let mut places = Vec::new();
    if project.stamp()?.is_some_and(|stamp| stamp.is_folder()) {
        places.push((Kind::Inside, project.folder()?.location(b".lock")?));
    }
    places.push((Kind::Beside, Arc::new(project.beside(".lock")?)));
    Ok(places)
}

/// All locks of a project.
pub fn locks(project: &Location) -> Result<Vec<Lock>> {
    let mut found = Vec::new();
    for (kind, place) in places(project)? {
        found.extend(judged(kind, &place)?.map(|(lock, _)| lock));
    }
    Ok(found)
}

/// [`Error::Busy`] while somebody may hold one of them.
pub fn refuse_while_live(project: &Location) -> Result<()> {
    match locks(project)?.iter().find(|lock| lock.live) {
        Some(lock) => Err(busy(project.path(), lock)),
        None => Ok(()),
    }
}

/// The error that stands for it.
fn busy(project: &Path, lock: &Lock) -> Error {
    let (path, project) = (lock.path.display(), project.display());
    let is_from_here = lock.host.as_ref().is_some_and(|host| *host == hostname());
    let remedy = match lock.pid {
        Some(pid) if is_from_here && !runs(pid) => {
            "no such process is seen here; if nobody has the project open, wait for an hour, or remove that file"
        }
        _ => "close it there first",
    };
    Error::Busy(format!("{project}: the project is in use ({path}: {}); {remedy}", lock.who()))
}

fn judged(kind: Kind, place: &Location) -> Result<Option<(Lock, Stamp)>> {
    let Some(stamp) = place.stamp()? else { return Ok(None) };
    let text = text(place, &stamp);
    let (pid, host, ended) = match kind {
        Kind::Inside => {
            let told: Value = serde_json::from_slice(&text).unwrap_or_default();
            let pid = told.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
            let host = told.get("hostname").and_then(Value::as_str).filter(|h| h.len() <= LONGEST_HOST);
            (pid, host.map(str::to_string), pid.is_some_and(|pid| Holder::told(pid, &told).has_ended()))
        }
        Kind::Beside => {
            let text = String::from_utf8_lossy(&text);
            (text.lines().next().and_then(|line| line.trim().parse().ok()), None, false)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let age = now.saturating_sub(stamp.mtime.0);
    let live = match (kind, pid) {
        (Kind::Beside, Some(pid)) => runs(pid),
        // A time to come is no proof that nobody is there.
        _ => age < STALE.as_secs() as i64 && !ended,
    };
    Ok(Some((Lock { path: place.path().to_path_buf(), live, pid, host, age, ended }, stamp)))
}

/// Whether there is a process of this number here, whoever it belongs to.
fn runs(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else { return false };
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

/// A process, so that it cannot be taken for another.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    /// What the kernel calls the time since it was started last.
    boot: Option<String>,
    /// Where its number is its number: containers count for themselves.
    namespace: Option<String>,
    /// When it began, in ticks of that kernel, and what it counts them from: containers may have a start of their own.
    began: Option<u64>,
    clock: Option<String>,
}

impl Holder {
    const BOOT: &str = "boot_id";
    const NAMESPACE: &str = "pid_namespace";
    const BEGAN: &str = "start_ticks";
    const CLOCK: &str = "time_namespace";

    /// Who has this number here.
    fn here(pid: u32) -> Holder {
        let text = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_string());
        let namespace = |kind: &str| {
            let name = std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
            Some(name.to_string_lossy().into_owned())
        };
        let stat = text(&format!("/proc/{pid}/stat"));
        // The name of the program stands in brackets, and may have any in it.
        let began = stat.and_then(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok());
        Holder {
            pid,
            boot: text("/proc/sys/kernel/random/boot_id"),
            namespace: namespace("pid"),
            began,
            clock: namespace("time"),
        }
    }

    /// Whom a lock tells of.
    fn told(pid: u32, told: &Value) -> Holder {
        let text = |key: &str| told.get(key).and_then(Value::as_str).map(str::to_string);
        let began = told.get(Self::BEGAN).and_then(Value::as_u64);
        let clock = text(Self::CLOCK);
        Holder { pid, boot: text(Self::BOOT), namespace: text(Self::NAMESPACE), began, clock }
    }

    /// Whether it has ended for certain.
    fn has_ended(&self) -> bool {
        let here = Holder::here(self.pid);
        let is_of_here = [(&self.boot, &here.boot), (&self.namespace, &here.namespace)]
            .into_iter()
            .all(|(told, own)| told.is_some() && told == own);
        let is_another =
            self.clock == here.clock && self.began.zip(here.began).is_some_and(|(told, own)| told != own);
        is_of_here && self.began.is_some() && (!runs(self.pid) || is_another)
    }
}

/// What is in a lock; nothing where it cannot be read, which makes it no less of a lock.
fn text(place: &Location, stamp: &Stamp) -> Vec<u8> {
    let mut text = Vec::new();
    if stamp.is_file()
        && stamp.size < MOST
        && let Ok(file) = place.open()
        && file.take(MOST).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    text
}

/// The locks of a project, held until this is dropped.
#[derive(Debug)]
pub struct Held {
    taken: Vec<Taken>,
    /// Processes of ours that have ended without removing their lock.
    pub ended: Vec<u32>,
}

#[derive(Debug)]
struct Taken {
    place: Arc<Location>,
    file: File,
}

/// Takes all locks of a project. What is abandoned is removed; what is live is [`Error::Busy`].
pub fn hold(project: &Location) -> Result<Held> {
    let mut held = Held { taken: Vec::new(), ended: Vec::new() };
    for (kind, place) in places(project)? {
        if let Some((lock, seen)) = judged(kind, &place)? {
            if lock.live {
                return Err(busy(project.path(), &lock));
            }
            place.remove(seen)?;
            held.ended.extend(lock.pid.filter(|_| lock.ended));
        }
        let path = place.path().to_path_buf();
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = made.map_err(|e| match e.kind() {
            // Somebody was faster.
            std::io::ErrorKind::AlreadyExists => match judged(kind, &place) {
                Ok(Some((lock, _))) => busy(project.path(), &lock),
                _ => Error::Busy(format!("{}: the project is in use", project.path().display())),
            },
            _ => Error::Refused(format!("cannot make the lock {}: {e}", path.display())),
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let pid = std::process::id();
        let text = match kind {
            Kind::Inside => {
                let Holder { boot, namespace, began, clock, .. } = Holder::here(pid);
                json!({
                    "pid": pid, "timestamp": now.as_secs_f64(), "hostname": hostname(),
                    (Holder::BOOT): boot, (Holder::NAMESPACE): namespace, (Holder::BEGAN): began,
                    (Holder::CLOCK): clock,
                })
                .to_string()
            }
            Kind::Beside => format!("{pid}\n{}\n", now.as_secs()),
        };
        held.taken.push(Taken { place, file });
        let file = &mut held.taken.last_mut().expect("it was just put there").file;
        file.write_all(text.as_bytes()).map_err(|e| Error::io("write the lock", path, e))?;
    }
    Ok(held)
}

impl Held {
    /// Tells others that the holder is at work still. To be called well within the hour.
    pub fn refresh(&self) -> Result<()> {
        self.taken.iter().try_for_each(|taken| {
            let touched = taken.file.set_modified(SystemTime::now());
            touched.map_err(|e| Error::io("touch the lock", taken.place.path(), e))
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for taken in &self.taken {
            // One that another has put in its place is not ours. One that cannot be removed goes stale by itself.
            let ours = Stamp::now(&taken.file).ok();
            if let (Some(ours), Ok(Some(there))) = (ours, taken.place.stamp())
                && ours.file == there.file
            {
                let _ = taken.place.remove(there);
            }
        }
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bundle() -> (tempfile::TempDir, Location) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("P.vasopack");
        fs::create_dir(&path).unwrap();
        (folder, Location::find(&path).unwrap())
    }

    fn put(path: &Path, text: &str, age: u64) {
        fs::write(path, text).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }

    #[test]
    fn each_kind_has_its_rule() {
        let (_folder, project) = bundle();
        let (inside, beside) =
            (project.path().join(".lock"), project.path().with_file_name("P.vasopack.lock"));
        let own = std::process::id();
        let json = format!(r#"{{"pid": {own}, "timestamp": 1.5, "hostname": "lab7"}}"#);
        // Above every number that a process can have.
        let dead = "99999999\n1700000000\n".to_string();
        for (place, text, age, is_live) in [
            (&inside, &json, 10, true),
            (&inside, &json, 3700, false),
            (&inside, &"torn".to_string(), 10, true),
            (&beside, &format!("{own}\n1700000000\n"), 90_000, true),
            (&beside, &dead, 10, false),
            (&beside, &String::new(), 10, true),
            (&beside, &"nobody".to_string(), 3700, false),
        ] {
            put(place, text, age);
            let found = locks(&project).unwrap();
            assert_eq!(found.iter().map(|lock| lock.live).collect::<Vec<_>>(), [is_live], "{text} {age}");
            assert_eq!(refuse_while_live(&project).is_err(), is_live);
            assert_eq!(matches!(hold(&project), Err(Error::Busy(_))), is_live, "{text} {age}");
            let _ = fs::remove_file(place);
        }
        put(&inside, &json, 130);
        assert_eq!(
            locks(&project).unwrap()[0].who(),
            format!("process {own} on lab7, touched 2 minutes ago")
        );
    }

    #[test]
    fn a_lock_of_ours_is_abandoned_when_its_holder_has_ended_for_certain() {
        let (_folder, project) = bundle();
        let inside = project.path().join(".lock");
        let held = hold(&project).unwrap();
        let own: Value = serde_json::from_slice(&fs::read(&inside).unwrap()).unwrap();
        drop(held);
        // Above every number that a process can have.
        let dead = json!(99_999_999);
        for (what, changes, is_live) in [
            ("it runs", vec![], true),
            ("it has ended", vec![("pid", dead.clone())], false),
            ("another has its number", vec![(Holder::BEGAN, json!(1))], false),
            ("of another machine", vec![("pid", dead.clone()), (Holder::BOOT, json!("other"))], true),
            ("of a container", vec![("pid", dead.clone()), (Holder::NAMESPACE, json!("pid:[1]"))], true),
            ("of nobody knows where", vec![("pid", dead.clone()), (Holder::BOOT, Value::Null)], true),
            (
                "it counts time from elsewhere",
                vec![(Holder::BEGAN, json!(1)), (Holder::CLOCK, json!("time:[1]"))],
                true,
            ),
            ("of nobody knows when", vec![("pid", dead.clone()), (Holder::BEGAN, Value::Null)], true),
        ] {
            let mut told = own.clone();
            changes.iter().for_each(|(key, value)| told[*key] = value.clone());
            put(&inside, &told.to_string(), 10);
            assert_eq!(locks(&project).unwrap()[0].live, is_live, "{what}");
            assert_eq!(refuse_while_live(&project).is_err(), is_live, "{what}");
            let held = hold(&project);
            assert_eq!(held.is_err(), is_live, "{what}");
            let ended: Vec<u64> =
                held.into_iter().flat_map(|held| held.ended.clone()).map(u64::from).collect();
            let expected = if is_live { vec![] } else { vec![told["pid"].as_u64().unwrap()] };
            assert_eq!(ended, expected, "{what}");
            let _ = fs::remove_file(&inside);
        }
        // Of the application's it is not certain: it says which host, and hosts may have the same name.
        put(&inside, &json!({ "pid": dead, "timestamp": 1.5, "hostname": hostname() }).to_string(), 10);
        let Err(Error::Busy(why)) = hold(&project) else { panic!("it is live") };
        assert!(why.contains("no such process is seen here"), "{why}");
    }

    #[test]
    fn what_is_held_is_seen_by_others_and_is_gone_afterwards() {
        let (_folder, project) = bundle();
        let held = hold(&project).unwrap();
        held.refresh().unwrap();
        let both = locks(&project).unwrap();
        assert_eq!(both.len(), 2);
        assert!(both.iter().all(|lock| lock.live && lock.pid == Some(std::process::id())));
        let Err(Error::Busy(why)) = hold(&project) else { panic!("it is held") };
        assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
        // One that somebody else has made there stays.
        let inside = project.path().join(".lock");
        fs::remove_file(&inside).unwrap();
        fs::write(&inside, "theirs").unwrap();
        drop(held);
        assert_eq!(fs::read_to_string(&inside).unwrap(), "theirs");
        assert!(!project.path().with_file_name("P.vasopack.lock").exists());
    }
}
