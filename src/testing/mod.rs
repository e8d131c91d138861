//! What only tests need: the tidy test of the house, and later simulators and checkers.
//!
//! Contract: nothing outside `cfg(test)` imports this room.

mod tidy;
