//! `vaso ls`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::tree::{Kind, Spot};

/// List a project without mounting it.
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
    size: u64,
    mode: String,
    time: String,
}

pub fn run(args: Args) -> Result<Exit> {
    let (_, top) = project::find(
        &args.source,
        args.path.as_deref().unwrap_or("".as_ref()),
        args.recursive || args.long,
    )?;
    if args.json {
        let mut rows = Vec::new();
        walk(&top, args.recursive, &mut |spot| {
            rows.push(row(spot)?);
            Ok(())
        })?;
        output::json(&rows)?;
        return Ok(Exit::Done);
    }
    output::print(|out| match top.kind() {
        Kind::Directory => directory(out, &top, &args),
        _ => line(out, &top, &args),
    })?;
    Ok(Exit::Done)
}

/// Calls `each` for what a listing of `top` shows.
fn walk(top: &Spot, recursive: bool, each: &mut dyn FnMut(&Spot) -> Result<()>) -> Result<()> {
    if top.kind() != Kind::Directory {
        return each(top);
    }
    // Not by calling ourselves: a stored path may have two thousand components.
    let mut open = vec![top.children()];
    while let Some(children) = open.last_mut() {
        match children.next() {
            Some(spot) => {
                each(&spot)?;
                if recursive && spot.kind() == Kind::Directory {
                    open.push(spot.enter()?.children());
                }
            }
            None => drop(open.pop()),
        }
    }
    Ok(())
}

fn row(spot: &Spot) -> Result<Row> {
    let node = spot.branch.tree().node(spot.node);
    let kind = match node.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Link => "link",
    };
    Ok(Row {
        path: String::from_utf8_lossy(&spot.path()).into_owned(),
        kind,
        size: spot.size()?,
        mode: format!("{:04o}", node.mode),
        time: node.time().utc(),
    })
}

fn directory(out: &mut dyn Write, top: &Spot, args: &Args) -> std::io::Result<()> {
    let mut pending = vec![top.clone()];
    let mut first = true;
    while let Some(dir) = pending.pop() {
        if args.recursive {
            let gap = if first { "" } else { "\n" };
            write!(out, "{gap}./")?;
            out.write_all(&output::name(&dir.path()))?;
            out.write_all(b":\n")?;
        }
        first = false;
        let dir = dir.enter()?;
        for spot in dir.children() {
            line(out, &spot, args)?;
        }
        if args.recursive {
            let mut below: Vec<Spot> = dir.children().filter(|spot| spot.kind() == Kind::Directory).collect();
            below.reverse();
            pending.extend(below);
        }
    }
    Ok(())
}

fn line(out: &mut dyn Write, spot: &Spot, args: &Args) -> std::io::Result<()> {
    let node = spot.branch.tree().node(spot.node);
    if args.long {
        let kind = match node.kind {
            Kind::Directory => 'd',
            Kind::File => '-',
            Kind::Link => 'l',
        };
        write!(out, "{kind}{} {:>13} {} ", bits(node.mode), spot.size()?, node.time().utc())?;
    }
    out.write_all(&output::name(spot.name()))?;
    if args.long && node.kind == Kind::Link {
        let mut target = Vec::new();
        project::read(spot, |piece| {
            target.extend_from_slice(piece);
            Ok(())
        })?;
        out.write_all(b" -> ")?;
        out.write_all(&output::name(&target))?;
    }
    out.write_all(b"\n")
}

fn bits(mode: u16) -> String {
    (0..9).map(|i| if mode >> (8 - i) & 1 == 1 { b"rwx"[i % 3] as char } else { '-' }).collect()
}
