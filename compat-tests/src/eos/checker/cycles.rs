//! G1c: a cycle of transactions each of which read what the one before wrote.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use super::Found;
use super::index::Index;
use crate::eos::history::Function;

pub(super) fn check(index: &Index, found: &mut Found) {
    let edges = write_read_edges(index);
    for component in components(&edges) {
        if component.len() < 2 {
            continue;
        }
        let cycle = shortest_cycle(&edges, &component);
        let ops: Vec<u64> = cycle.iter().map(|number| index.operations[*number].op).collect();
        found.add("G1c", ops.clone(), || {
            format!("transactions that each read from the one before, in a circle: {ops:?}")
        });
    }
}

/// Writer → readers, among committed transactions, at read_committed. Own reads are another anomaly.
fn write_read_edges(index: &Index) -> HashMap<usize, Vec<usize>> {
    let mut edges: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, operation) in index.operations.iter().enumerate() {
        if operation.function != Function::Txn || !index.is_committed(operation) {
            continue;
        }
        for (_, _, value, committed) in operation.reads() {
            let Some(writer) = index.writers.get(&value).copied() else { continue };
            if committed && writer != number && index.operations[writer].function == Function::Txn {
                edges.entry(writer).or_default().push(number);
            }
        }
    }
    for readers in edges.values_mut() {
        readers.sort_unstable();
        readers.dedup();
    }
    edges
}

/// Strongly connected components, by Tarjan's algorithm with a stack of its own.
fn components(edges: &HashMap<usize, Vec<usize>>) -> Vec<Vec<usize>> {
    const NONE: &[usize] = &[];
    let next = |node: usize| edges.get(&node).map_or(NONE, Vec::as_slice);
    let mut numbers: HashMap<usize, (usize, usize)> = HashMap::new(); // node → (index, low link)
    let (mut stack, mut on_stack, mut found) = (Vec::new(), HashMap::new(), Vec::new());
    let mut roots: Vec<usize> = edges.keys().copied().collect();
    roots.sort_unstable();
    for root in roots {
        if numbers.contains_key(&root) {
            continue;
        }
        let mut calls = vec![(root, 0)];
        while let Some((node, position)) = calls.pop() {
            if position == 0 {
                numbers.insert(node, (numbers.len(), numbers.len()));
                stack.push(node);
                on_stack.insert(node, true);
            }
            if let Some(target) = next(node).get(position).copied() {
                calls.push((node, position + 1));
                match numbers.get(&target).copied() {
                    None => calls.push((target, 0)),
                    Some((number, _)) if on_stack[&target] => lower(&mut numbers, node, number),
                    Some(_) => {}
                }
                continue;
            }
            let (number, low) = numbers[&node];
            if number == low {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack.insert(member, false);
                    component.push(member);
                    if member == node {
                        break;
                    }
                }
                found.push(component);
            }
            if let Some((caller, _)) = calls.last() {
                lower(&mut numbers, *caller, low);
            }
        }
    }
    found
}

fn lower(numbers: &mut HashMap<usize, (usize, usize)>, node: usize, to: usize) {
    if let Some((_, low)) = numbers.get_mut(&node) {
        *low = (*low).min(to);
    }
}

/// The shortest circle within a component: a breadth-first search from each of its members.
fn shortest_cycle(edges: &HashMap<usize, Vec<usize>>, component: &[usize]) -> Vec<usize> {
    let members: std::collections::HashSet<usize> = component.iter().copied().collect();
    let mut best: Option<Vec<usize>> = None;
    // More starts do not make it much shorter, and a big component is bad enough.
    for start in component.iter().take(200).copied() {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        'search: while let Some(node) = queue.pop_front() {
            for target in edges.get(&node).into_iter().flatten().copied().filter(|target| members.contains(target)) {
                if target == start {
                    let mut path = vec![node];
                    while let Some(before) = from.get(path.last().unwrap_or(&start)) {
                        path.push(*before);
                    }
                    path.reverse();
                    if best.as_ref().is_none_or(|best| path.len() < best.len()) {
                        best = Some(path);
                    }
                    break 'search;
                }
                if let Entry::Vacant(entry) = from.entry(target) {
                    entry.insert(node);
                    queue.push_back(target);
                }
            }
        }
    }
    best.unwrap_or_default()
}
