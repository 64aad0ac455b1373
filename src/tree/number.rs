//! Inode numbers: each a hash of the parent's number, the name and the content's identity, which makes it a
//! hash of the path. Two nodes never share a number, and none is below [`RESERVED`].
//!
//! All are hashed first, level by level on all cores, as if no two were alike. Where that proves wrong, which
//! no honest project will see, they are numbered one after the other: a node whose number is taken by an
//! earlier one hashes again. Either way the outcome is a function of the project.

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::build::RESERVED;
use super::{Kind, Node};

/// A level with fewer nodes is not worth a thread.
const WORTH_A_THREAD: usize = 8192;

/// Gives every node but the root, which has it, its number; `identity` is asked for files and links.
pub fn number(nodes: &mut [Node], names: &[u8], identity: impl Fn(usize) -> u64 + Sync) {
    number_with(nodes, names, identity, |input| {
        let hash = blake3::hash(input);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
    });
}

fn number_with(
    nodes: &mut [Node],
    names: &[u8],
    identity: impl Fn(usize) -> u64 + Sync,
    hash: impl Fn(&[u8]) -> u64 + Sync,
) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let mut level = 1;
    while level < nodes.len() {
        // Parents stand in earlier levels, and have their numbers.
        let (above, rest) = nodes.split_at_mut(level);
        let here = rest.partition_point(|node| (node.parent as usize) < level);
        let share = here.div_ceil(if here < WORTH_A_THREAD { 1 } else { threads });
        let hash_share = |first: usize, share: &mut [Node]| {
            let mut input = Vec::with_capacity(512);
            for (i, node) in share.iter_mut().enumerate() {
                describe(&mut input, node, &above[node.parent as usize], names, || identity(first + i));
                node.ino = hash(&input);
            }
        };
        let shares = Mutex::new(rest[..here].chunks_mut(share).enumerate());
        let work = || {
            let next = || shares.lock().next();
            while let Some((i, nodes)) = next() {
                hash_share(level + i * share, nodes);
            }
        };
        std::thread::scope(|scope| {
            // Where the system has no thread to give, this one does it all.
            for _ in 1..here.div_ceil(share) {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        level += here;
    }
    if !are_apart(nodes) {
        one_after_the_other(nodes, names, identity, hash);
    }
}

/// What a node's number is a hash of.
fn describe(input: &mut Vec<u8>, node: &Node, parent: &Node, names: &[u8], identity: impl FnOnce() -> u64) {
    input.clear();
    input.extend_from_slice(&parent.ino.to_le_bytes());
    match node.kind {
        Kind::Directory => input.push(b'd'),
        _ => {
            input.push(if node.kind == Kind::File { b'f' } else { b'l' });
            input.extend_from_slice(&identity().to_le_bytes());
            input.extend_from_slice(&node.size.to_le_bytes());
            input.extend_from_slice(&node.seconds.to_le_bytes());
            input.extend_from_slice(&node.nanos.to_le_bytes());
        }
    }
    input.extend_from_slice(&names[node.name_at as usize..][..node.name_len as usize]);
}

/// Whether no two numbers are the same, and none but the root's is reserved.
fn are_apart(nodes: &[Node]) -> bool {
    let mut all: Vec<u64> = nodes[1..].iter().map(|node| node.ino).collect();
    all.sort_unstable();
    all.first().is_none_or(|least| *least >= RESERVED) && all.is_sorted_by(|a, b| a < b)
}

fn one_after_the_other(
    nodes: &mut [Node],
    names: &[u8],
    identity: impl Fn(usize) -> u64,
    hash: impl Fn(&[u8]) -> u64,
) {
    let mut taken: HashTable<u64> = HashTable::with_capacity(nodes.len());
    let mut input = Vec::with_capacity(512);
    for i in 1..nodes.len() {
        let node = &nodes[i];
        describe(&mut input, node, &nodes[node.parent as usize], names, || identity(i));
        let mut ino = hash(&input);
        let mut again = 0u32;
        while ino < RESERVED || taken.find(ino, |other| *other == ino).is_some() {
            again += 1;
            input.extend_from_slice(&again.to_le_bytes());
            ino = hash(&input);
        }
        taken.insert_unique(ino, ino, |other| *other);
        nodes[i].ino = ino;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, Leaf, SafePath, Time};
    use super::*;

    fn nodes(files: u32) -> (Vec<Node>, Box<[u8]>) {
        let mut b = Builder::new(0);
        for i in 0..files {
            let leaf = Leaf {
                size: 10,
                time: Time { seconds: 1000, nanos: 0 },
                mode: 0o444,
                kind: Kind::File,
                entry: i,
                identity: i.into(),
            };
            let path = format!("d{}/e{}/f{i}", i % 7, i % 3);
            b.leaf(SafePath::check(path.as_bytes()).unwrap(), leaf).unwrap();
        }
        let (tree, _) = b.finish();
        (tree.nodes.to_vec(), tree.names)
    }

    fn sorted(nodes: &[Node]) -> Vec<u64> {
        let mut inos: Vec<u64> = nodes.iter().map(|n| n.ino).collect();
        inos.sort_unstable();
        inos
    }

    #[test]
    fn numbers_are_unique_even_where_the_hash_collides() {
        let (mut nodes, names) = nodes(200);
        number_with(&mut nodes, &names, |i| i as u64, |input| blake3::hash(input).as_bytes()[0].into());
        let mut inos = sorted(&nodes);
        inos.dedup();
        assert_eq!(inos.len(), nodes.len());
        assert!(nodes[1..].iter().all(|n| n.ino >= RESERVED));
    }

    #[test]
    fn threads_give_the_numbers_that_one_would() {
        let (mut nodes, names) = nodes(WORTH_A_THREAD as u32 * 3 + 5);
        let by_threads: Vec<u64> = nodes.iter().map(|n| n.ino).collect();
        let hash = |input: &[u8]| u64::from_le_bytes(blake3::hash(input).as_bytes()[..8].try_into().unwrap());
        // The entry's number is its identity here.
        let identity: Vec<u64> = nodes.iter().map(|n| n.first.into()).collect();
        one_after_the_other(&mut nodes, &names, |i| identity[i], hash);
        assert_eq!(by_threads, nodes.iter().map(|n| n.ino).collect::<Vec<_>>());
    }
}
