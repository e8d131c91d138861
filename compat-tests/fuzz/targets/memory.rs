//! The allocator of the targets: an input that asks for more than [`LIMIT`] aborts, also when the memory is never touched.

use std::alloc::System;

use cap::Cap;

/// What requests may take whatever their size is 16 MiB, and inputs are at most 64 KiB.
const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, LIMIT);
