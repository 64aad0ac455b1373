//! A map that forgets: bounded by weight, constant time, and nothing to tune.
//!
//! Two generations. What is used lives in the young one; when that is full it becomes the old one, and the old
//! one is dropped. An entry survives as long as it is used once per generation.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// A bounded map from `K` to clones of `V`. The lock is held for a look-up, never while a value is made.
#[derive(Debug)]
pub struct Cache<K, V> {
    generations: Mutex<Generations<K, V>>,
    /// Half of the bound: the weight at which a generation is full.
    full: usize,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    weight: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache whose entries never weigh more than `bound` together, except that one entry always fits.
    pub fn new(bound: usize) -> Cache<K, V> {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), weight: 0 };
        Cache { generations: Mutex::new(generations), full: bound / 2 }
    }

    /// The value of `key`, if it is still here.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut g = self.generations.lock();
        if let Some((value, _)) = g.young.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = g.old.remove(key)?;
        g.insert(self.full, key.clone(), value.clone(), weight);
        Some(value)
    }

    /// Keeps `value` for a while.
    pub fn insert(&self, key: K, value: V, weight: usize) {
        self.generations.lock().insert(self.full, key, value, weight);
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &K) {
        let mut g = self.generations.lock();
        match g.young.remove(key) {
            Some((_, weight)) => g.weight -= weight,
            None => drop(g.old.remove(key)),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.retain(|_| false);
    }

    /// Forgets whatever `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        let mut g = self.generations.lock();
        g.young.retain(|key, _| keep(key));
        g.old.retain(|key, _| keep(key));
        g.weight = g.young.values().map(|(_, weight)| weight).sum();
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn insert(&mut self, full: usize, key: K, value: V, weight: usize) {
        if self.weight + weight > full && !self.young.is_empty() {
            // Tables are used again: in the long run nothing is allocated here.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.weight = 0;
        }
        self.weight += weight;
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.weight -= before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_stays_bounded_and_what_is_used_stays() {
        let cache = Cache::new(100);
        for i in 0..1000 {
            cache.insert(i, i, 10);
            assert!(cache.get(&0).is_some(), "used at every step, at {i}");
            let g = cache.generations.lock();
            let weight = |m: &HashMap<i32, (i32, usize)>| m.values().map(|v| v.1).sum::<usize>();
            assert!(weight(&g.young) + weight(&g.old) <= 100);
            assert_eq!(g.weight, weight(&g.young));
        }
        assert_eq!(cache.get(&1), None);
    }
}
