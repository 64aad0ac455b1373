//! Which of the projects that are ZIP files this one is, told by its content.

use super::document::{Document, Text};
use crate::signs::names;
use crate::tree::{Kind as NodeKind, NodeId, Tree};

/// The schema that a Package v1 names in its manifest.
pub const SCHEMA: &str = "https://vaso.dev/schemas/vaso-package-v1.json";

/// The kinds of project that are ZIP files, in the order in which they are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bundle of snapshots inside a ZIP; the application's default format.
    Container,
    /// `.vaso` Package v1.
    Package,
    /// An old project with `manifest.json` and `state.json`.
    OldB,
    /// An old project with `metadata.json`.
    OldA,
    /// One dataset for import.
    Dataset,
    /// A ZIP around a `project.vaso`.
    Share,
}

impl Kind {
    /// The word for it in `--json`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Package => "package",
            Kind::OldB => "old-zip-b",
            Kind::OldA => "old-zip-a",
            Kind::Dataset => "vasods",
            Kind::Share => "share-zip",
        }
    }
}

/// What decides the kind.
#[derive(Debug)]
pub struct Signs<'a> {
    /// Names and nodes.
    pub tree: &'a Tree,
    /// `manifest.json`, if it is a JSON object.
    pub manifest: Option<&'a Document>,
    /// The directory is lost. Only snapshots of a bundle, or a manifest that names the schema, are proof enough then:
    /// what a ZIP without a directory was, is a guess otherwise.
    pub salvaged: bool,
}

impl Signs<'_> {
    /// The folder of a bundle that somebody has packed as it was, at the top or one below.
    pub fn bundle_folder(&self) -> Option<String> {
        let top = std::iter::once(Tree::ROOT);
        let mut folders = top.chain(self.tree.children(Tree::ROOT));
        let is_bundle = |folder: &NodeId| {
            let snapshots = self.tree.child(*folder, b"snapshots");
            let mut files = snapshots.into_iter().flat_map(|id| self.tree.children(id));
            files.any(|id| names::number(self.tree.name(id)).is_some())
        };
        let found = folders.find(is_bundle)?;
        Some(if found == Tree::ROOT { "snapshots".into() } else { self.tree.shown(found) })
    }

    /// All kinds that it could be; the first counts.
    pub fn kinds(&self) -> Vec<Kind> {
        let file = |path: &str| {
            self.tree.find(path.as_bytes()).is_some_and(|id| self.tree.node(id).kind == NodeKind::File)
        };
        let field = |of: fn(&Document) -> &Text| self.manifest.and_then(|m| of(m).get());
        let (schema, dollar_schema) = (field(|m| &m.schema), field(|m| &m.dollar_schema));
        let named = [schema, dollar_schema].contains(&Some(SCHEMA));
        // The design's own form: every document has `$schema` and `version`.
        let designed = dollar_schema.is_some() && field(|m| &m.version).is_some();
        let inside = self.tree.find(b"bundle/snapshots");
        let snapshots = inside.is_some_and(|folder| {
            self.tree.children(folder).any(|id| names::number(self.tree.name(id)).is_some())
        });
        if self.salvaged {
            let certain = [(Kind::Container, snapshots), (Kind::Package, named)];
            return certain.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect();
        }
        let tests = [
            (Kind::Container, snapshots || file("bundle/HEAD.json")),
            (Kind::Package, named || designed),
            (Kind::OldB, file("manifest.json") && file("state.json")),
            (Kind::OldA, file("metadata.json")),
            (Kind::Dataset, field(|m| &m.format) == Some("vasods-v1")),
        ];
        let kinds: Vec<Kind> = tests.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect();
        // What a person or the system has put beside it does not make it another project; snapshots would.
        let other = ["HEAD.json", "snapshots"].iter().any(|path| self.tree.find(path.as_bytes()).is_some());
        // So would a log or a journal of it that holds anything, with which it is another database.
        let logged = ["project.vaso-wal", "project.vaso-journal"]
            .iter()
            .any(|path| self.tree.find(path.as_bytes()).is_some_and(|id| self.tree.node(id).size() > 0));
        let shared = kinds.is_empty() && file("project.vaso") && !other && !logged;
        if shared { vec![Kind::Share] } else { kinds }
    }
}
