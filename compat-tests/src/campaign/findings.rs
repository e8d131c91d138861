//! What a campaign found, from all its threads.

use std::sync::{Arc, Mutex};

/// More than this many are counted, not kept: one is enough, and the first ones say most.
const KEPT: usize = 20;

/// A shared list of findings; empty when the promises were kept.
#[derive(Clone, Default)]
pub struct Findings {
    inner: Arc<Mutex<(Vec<String>, usize)>>,
}

impl Findings {
    /// Adds one, and says it at once.
    pub fn add(&self, finding: impl Into<String>) {
        let finding = finding.into();
        let mut inner = self.inner.lock().expect("not poisoned");
        inner.1 += 1;
        if inner.0.len() < KEPT {
            println!("FINDING {finding}");
            inner.0.push(finding);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner.lock().expect("not poisoned").1
    }

    /// The first ones.
    pub fn first(&self) -> Vec<String> {
        self.inner.lock().expect("not poisoned").0.clone()
    }
}
