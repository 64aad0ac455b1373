//! `vaso demo`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::exit::Exit;
use super::output;
use crate::error::{Error, Result};
use crate::format::package::sample;
use crate::mount::{self, Ready};
use crate::store::Target;

/// Make a small sample project, mount it, and show what to try.
///
/// Everything is in one new folder. On a terminal the mount stays until you press Enter; otherwise it ends at
/// once. The sample project stays only when you name the folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder to make, instead of a temporary one
    folder: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<Exit> {
    let keep = args.folder.is_some();
    let folder =
        args.folder.unwrap_or_else(|| std::env::temp_dir().join(format!("vaso-demo-{}", std::process::id())));
    std::fs::create_dir(&folder).map_err(|e| cannot(&folder, e))?;
    let folder = folder.canonicalize().map_err(|e| cannot(&folder, e))?;
    let shown = show(&folder);
    if !keep {
        // `show` has unmounted, or says why not: then this fails, and nothing of the mount is touched.
        let (project, dir) = (folder.join("Sample.vaso"), folder.join("mnt"));
        let removed = std::fs::remove_dir(&dir)
            .and_then(|()| std::fs::remove_file(&project))
            .and_then(|()| std::fs::remove_dir(&folder));
        // Why it did not work says more than what that has left behind.
        shown?;
        removed.map_err(|e| cannot(&folder, e))?;
        return Ok(Exit::Done);
    }
    shown.map(|()| Exit::Done)
}

fn show(folder: &Path) -> Result<()> {
    let (project, dir) = (folder.join("Sample.vaso"), folder.join("mnt"));
    std::fs::create_dir(&dir).map_err(|e| cannot(&dir, e))?;
    let mut target = Target::create(&project).map_err(|e| cannot(&project, e))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    let written = sample::write(&mut bytes).and_then(|()| target.write_all(bytes.get_ref()));
    written.map_err(|e| cannot(&project, e))?;
    target.finish(0o644, std::time::SystemTime::now()).map_err(|e| cannot(&project, e))?;
    say(&format!("A sample project: {}", project.display()))?;
    let args = ["mount".into(), "--child".into(), "--".into(), project.clone().into(), dir.clone().into()];
    match mount::launch(&args, |_| Ok(()))? {
        Ready::Mounted => {}
        Ready::Failed(_) => return Err(Error::Refused("the sample project could not be mounted".into())),
    }
    // Whatever happens meanwhile, the mount ends with the demo.
    let looked = look(&dir).and_then(|()| wait());
    mount::unmount(&dir, false)?;
    looked?;
    say("Unmounted. `vaso mount PROJECT DIR` does the same with yours.")
}

/// On a terminal, until somebody presses Enter.
fn wait() -> Result<()> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        say("Try these in another terminal, or open the folder in a file manager.\nPress Enter to unmount.")?;
        // Whatever ends the waiting ends the demo.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    Ok(())
}

fn look(dir: &Path) -> Result<()> {
    say(&format!("It is mounted at {}. Any program can read it now:\n", dir.display()))?;
    let dataset = "datasets/00000000-0000-4000-8000-000000000001";
    let commands = [
        format!("ls -l {}", quoted(dir)),
        format!("head -n 3 {}", quoted(&dir.join(dataset).join("channels.csv"))),
        format!("head -n 2 {}", quoted(&dir.join("events/events.jsonl"))),
        format!("cat {}", quoted(&dir.join("project/project.json"))),
    ];
    for command in commands {
        let output = Command::new("sh").arg("-c").arg(&command).output();
        let output = output.map_err(|e| Error::Refused(format!("cannot run `{command}`: {e}")))?;
        say(&format!("$ {command}\n{}", String::from_utf8_lossy(&output.stdout)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Refused(format!("`{command}` failed: {}", said.trim())));
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    output::print(|out| writeln!(out, "{text}"))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn cannot(path: &Path, error: std::io::Error) -> Error {
    Error::Refused(format!("cannot write {}: {error}", path.display()))
}
