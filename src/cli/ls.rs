//! `vaso ls`

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::{output, project};
use crate::error::Result;
use crate::format::Container;
use crate::tree::{Kind, NodeId, Tree};

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
    let project = project::open(&args.source)?;
    let tree = project.tree();
    let top = project::find(tree, args.path.as_deref().unwrap_or("".as_ref()))?;
    if args.json {
        let mut rows = Vec::new();
        walk(tree, top, args.recursive, &mut |id| rows.push(row(tree, id)));
        output::json(&rows)?;
        return Ok(Exit::Done);
    }
    output::print(|out| match tree.node(top).kind {
        Kind::Directory => directory(out, project.as_ref(), top, &args),
        _ => line(out, project.as_ref(), top, &args),
    })?;
    Ok(Exit::Done)
}

/// Calls `each` for what a listing of `top` shows.
fn walk(tree: &Tree, top: NodeId, recursive: bool, each: &mut dyn FnMut(NodeId)) {
    if tree.node(top).kind != Kind::Directory {
        return each(top);
    }
    // Not by calling ourselves: a stored path may have two thousand components.
    let mut open = vec![tree.children(top)];
    while let Some(children) = open.last_mut() {
        match children.next() {
            Some(id) => {
                each(id);
                if recursive && tree.node(id).kind == Kind::Directory {
                    open.push(tree.children(id));
                }
            }
            None => drop(open.pop()),
        }
    }
}

fn row(tree: &Tree, id: NodeId) -> Row {
    let node = tree.node(id);
    let kind = match node.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Link => "link",
    };
    Row {
        path: tree.shown(id),
        kind,
        size: node.size(),
        mode: format!("{:04o}", node.mode),
        time: node.time().utc(),
    }
}

fn directory(out: &mut dyn Write, project: &dyn Container, top: NodeId, args: &Args) -> std::io::Result<()> {
    let tree = project.tree();
    let mut pending = vec![top];
    let mut first = true;
    while let Some(dir) = pending.pop() {
        if args.recursive {
            let gap = if first { "" } else { "\n" };
            write!(out, "{gap}./")?;
            out.write_all(&output::name(&tree.path(dir)))?;
            out.write_all(b":\n")?;
        }
        first = false;
        for id in tree.children(dir) {
            line(out, project, id, args)?;
        }
        if args.recursive {
            let below = tree.children(dir).filter(|id| tree.node(*id).kind == Kind::Directory);
            let mut below: Vec<NodeId> = below.collect();
            below.reverse();
            pending.extend(below);
        }
    }
    Ok(())
}

fn line(out: &mut dyn Write, project: &dyn Container, id: NodeId, args: &Args) -> std::io::Result<()> {
    let tree = project.tree();
    let node = tree.node(id);
    if args.long {
        let kind = match node.kind {
            Kind::Directory => 'd',
            Kind::File => '-',
            Kind::Link => 'l',
        };
        write!(out, "{kind}{} {:>13} {} ", bits(node.mode), node.size(), node.time().utc())?;
    }
    out.write_all(&output::name(tree.name(id)))?;
    if args.long && node.kind == Kind::Link {
        let mut target = Vec::new();
        project::read(project, id, |piece| {
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
