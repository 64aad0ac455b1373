//! `vaso ls`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::{Error, Result};
use crate::tree::{Kind, Spot};

/// List a project without mounting it.
///
/// What cannot be looked at has `?` for its size, and makes exit code 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sizes, times (UTC) and permissions
    #[arg(short)]
    long: bool,
    /// Directories within directories too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
    /// The project
    source: PathBuf,
    /// A directory or file in it
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    kind: &'static str,
    /// None where nobody can tell.
    size: Option<u64>,
    mode: String,
    time: String,
}

pub fn run(args: Args) -> Result<Exit> {
    let (_, top) = project::find(
        &args.source,
        args.path.as_deref().unwrap_or("".as_ref()),
        args.recursive || args.long,
    )?;
    let mut trouble = Trouble(false);
    if args.json {
        let mut rows = Vec::new();
        walk(&top, args.recursive, &mut trouble, &mut |spot, trouble| {
            rows.push(row(spot, trouble)?);
            Ok(())
        })?;
        output::json(&rows)?;
    } else {
        output::print(|out| match top.kind() {
            Kind::Directory => directory(out, &top, &args, &mut trouble),
            _ => line(out, &top, &args, &mut trouble),
        })?;
    }
    Ok(if trouble.0 { Exit::Findings } else { Exit::Done })
}

/// Whether anything could not be looked at. One bad entry keeps nobody from seeing the others.
struct Trouble(bool);

impl Trouble {
    /// What `looked` has brought; nothing where that is an error of this entry alone, which is told.
    fn past<T>(&mut self, spot: &Spot, looked: Result<T>) -> Result<Option<T>> {
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(changed @ Error::SourceChanged(_)) => Err(changed),
            Err(why) => {
                self.0 = true;
                let path = String::from_utf8_lossy(&spot.path()).into_owned();
                let why = why.to_string();
                let about = if why.starts_with(&path) { String::new() } else { format!("{path}: ") };
                output::complain(&format!("{about}{why}"));
                Ok(None)
            }
        }
    }
}

/// Calls `each` for what a listing of `top` shows.
fn walk(
    top: &Spot,
    recursive: bool,
    trouble: &mut Trouble,
    each: &mut dyn FnMut(&Spot, &mut Trouble) -> Result<()>,
) -> Result<()> {
    if top.kind() != Kind::Directory {
        return each(top, trouble);
    }
    // Not by calling ourselves: a stored path may have two thousand components.
    let mut open = vec![top.enter()?.children()];
    while let Some(children) = open.last_mut() {
        match children.next() {
            Some(spot) => {
                each(&spot, trouble)?;
                if recursive
                    && spot.kind() == Kind::Directory
                    && let Some(inside) = trouble.past(&spot, spot.enter())?
                {
                    open.push(inside.children());
                }
            }
            None => drop(open.pop()),
        }
    }
    Ok(())
}

fn row(spot: &Spot, trouble: &mut Trouble) -> Result<Row> {
    let node = spot.branch.tree().node(spot.node);
    let kind = match node.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Link => "link",
    };
    Ok(Row {
        path: String::from_utf8_lossy(&spot.path()).into_owned(),
        kind,
        size: trouble.past(spot, spot.size())?,
        mode: format!("{:04o}", node.mode),
        time: node.time().utc(),
    })
}

fn directory(out: &mut dyn Write, top: &Spot, args: &Args, trouble: &mut Trouble) -> std::io::Result<()> {
    let mut pending = vec![top.clone()];
    let mut first = true;
    while let Some(dir) = pending.pop() {
        if args.recursive {
            let gap = if first { "" } else { "\n" };
            write!(out, "{gap}./")?;
            out.write_all(&output::name(&dir.path()))?;
            out.write_all(b":\n")?;
        }
        let entered = dir.enter();
        // What was asked for, and cannot be looked into, is an error and no entry among others.
        let Some(dir) = (if first { Some(entered?) } else { trouble.past(&dir, entered)? }) else { continue };
        first = false;
        for spot in dir.children() {
            line(out, &spot, args, trouble)?;
        }
        if args.recursive {
            let mut below: Vec<Spot> = dir.children().filter(|spot| spot.kind() == Kind::Directory).collect();
            below.reverse();
            pending.extend(below);
        }
    }
    Ok(())
}

fn line(out: &mut dyn Write, spot: &Spot, args: &Args, trouble: &mut Trouble) -> std::io::Result<()> {
    let node = spot.branch.tree().node(spot.node);
    if args.long {
        let kind = match node.kind {
            Kind::Directory => 'd',
            Kind::File => '-',
            Kind::Link => 'l',
        };
        let size = trouble.past(spot, spot.size())?.map_or("?".to_string(), |size| size.to_string());
        write!(out, "{kind}{} {size:>13} {} ", bits(node.mode), node.time().utc())?;
    }
    out.write_all(&output::name(spot.name()))?;
    if args.long && node.kind == Kind::Link {
        let target = trouble.past(spot, target(spot))?;
        out.write_all(b" -> ")?;
        out.write_all(&output::name(target.as_deref().unwrap_or(b"?")))?;
    }
    out.write_all(b"\n")
}

fn target(link: &Spot) -> Result<Vec<u8>> {
    let content = link.branch.open(link.node)?;
    let mut target = vec![0; content.size().min(1 << 16) as usize];
    let n = content.read_at(0, &mut target)?;
    target.truncate(n);
    Ok(target)
}

fn bits(mode: u16) -> String {
    (0..9).map(|i| if mode >> (8 - i) & 1 == 1 { b"rwx"[i % 3] as char } else { '-' }).collect()
}
