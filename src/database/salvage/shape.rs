//! How wide and how deep a tree is, by what is left of it, and how many leaves it had where it leads to nothing any more.
//!
//! All leaves of a tree lie equally deep. So what is lost above them was a page of children, each perhaps of more: as many
//! as those have on the average that are left at the same depth.

/// No tree of SQLite's is deeper.
const DEEPEST: usize = 20;

/// What is known of a tree.
#[derive(Debug, Default, Clone)]
pub struct Shape {
    /// Of each depth, from the root down.
    levels: Vec<Level>,
    /// How deep its leaves lie, if one is left.
    leaves: Option<usize>,
}

#[derive(Debug, Default, Clone)]
struct Level {
    /// Interior pages, and their children.
    parents: u64,
    children: u64,
    /// References that lead to nothing.
    lost: u64,
}

impl Shape {
    fn level(&mut self, depth: usize) -> &mut Level {
        let depth = depth.min(DEEPEST);
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, Level::default);
        }
        &mut self.levels[depth]
    }

    /// There is an interior page with so many children.
    pub fn has_parent(&mut self, depth: usize, children: usize) {
        let level = self.level(depth);
        level.parents += 1;
        level.children += children as u64;
    }

    /// There is a leaf.
    pub fn has_leaf(&mut self, depth: usize) {
        self.leaves.get_or_insert(depth.min(DEEPEST));
    }

    /// What should be there is not.
    pub fn has_lost(&mut self, depth: usize) {
        self.level(depth).lost += 1;
    }

    /// How many leaves were lost, one at least for each reference that leads to nothing. More than those are no more than
    /// there are pages that are `gone`.
    pub fn lost_leaves(&self, gone: u64) -> u64 {
        let (mut least, mut about) = (0, 0.0);
        // How many leaves are below a page of each depth, from the leaves up.
        let (bottom, mut below) = (self.leaves.unwrap_or(DEEPEST), 1.0);
        for (depth, level) in self.levels.iter().enumerate().rev() {
            if depth < bottom && level.parents > 0 {
                below *= level.children as f64 / level.parents as f64;
            }
            least += level.lost;
            about += level.lost as f64 * below;
        }
        least.max((about.round() as u64).min(gone))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hostile::{made, recovered};
    use super::super::report::Certainty;
    use super::*;

    #[test]
    fn what_is_lost_above_the_leaves_had_many() {
        let mut shape = Shape::default();
        assert_eq!(shape.lost_leaves(1000), 0);
        // A root with five children: two of them have 90 and 110, of which 3 are lost; three are lost themselves.
        shape.has_parent(0, 5);
        [90, 110].into_iter().for_each(|children| shape.has_parent(1, children));
        (0..3).for_each(|_| shape.has_lost(1));
        shape.has_leaf(2);
        (0..3).for_each(|_| shape.has_lost(2));
        assert_eq!(shape.lost_leaves(1000), 303);
        // There is no room for so many.
        assert_eq!(shape.lost_leaves(250), 250);
        assert_eq!(shape.lost_leaves(2), 6);
    }

    #[test]
    fn a_root_without_anything_was_one_page_at_least() {
        let mut shape = Shape::default();
        shape.has_lost(0);
        assert_eq!(shape.lost_leaves(1000), 1);
        shape.has_lost(usize::MAX);
        assert_eq!(shape.lost_leaves(1000), 2);
    }

    /// Rows all of one size, in the order in which they were written, and no index that would know them.
    #[test]
    fn what_a_cut_has_cost_is_about_what_is_told() {
        const ROWS: u64 = 60_000;
        for size in [512, 4096] {
            let sql = format!(
                "pragma page_size = {size}; create table reading(t real, value real, note text);
                 with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})
                 insert into reading select i * 0.1, i * 0.7, 'steady' from n;"
            );
            let (whole, _) = made(&sql, "reading");
            for tenths in [3, 5, 8] {
                let mut bytes = whole.clone();
                bytes.truncate(bytes.len() / size * tenths / 10 * size);
                let (report, ..) = recovered(bytes);
                let table = &report.tables[0];
                let missing = ROWS - table.recovered;
                assert!(missing > ROWS / 10, "{missing}");
                // Of the small pages nothing but the root is left of the tree: how deep it was cannot be told.
                if size == 512 {
                    assert_eq!((table.lost, table.certainty), (0, Certainty::AtLeast));
                } else {
                    let about = table.lost as f64 / missing as f64;
                    assert!((0.9..1.1).contains(&about), "{tenths} tenths: {} of {missing}", table.lost);
                    assert_eq!(table.certainty, Certainty::About);
                }
                assert!(!report.is_lossless() && !report.lost_is_exact);
            }
        }
    }
}
